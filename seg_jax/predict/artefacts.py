"""Exported networks: `load` returns the same kind of callable for every file that `python -m seg_jax.export` writes.

Only the runtime of the format is imported: flax only for the archive format, TensorFlow only for a SavedModel, and for
ONNX and TFLite not even JAX.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.config import Size
from seg_jax.data.depth import Depth
from seg_jax.data.labels import LabelTable
from seg_jax.predict import contents
from seg_jax.predict.contents import ArtefactError
from seg_jax.predict.sized import Apply, at_size
from seg_jax.runtime.errors import MachineError, of_the_machine
from seg_jax.runtime.extras import install_command
from seg_jax.runtime.seal import intact


@dataclass(frozen=True)
class Artefact:
    """An exported network.

    Attributes:
      table: the label table of its classes.
      metadata: JSON values recorded at the export, see docs/export.md.
      apply: the network itself, without a check of its argument.
    """

    table: LabelTable
    metadata: dict[str, Any]
    apply: Apply

    @property
    def output(self) -> str:
        """'probabilities' or 'label'."""
        return self.metadata["output"]

    @property
    def depth(self) -> Depth:
        """The bands of its images, and the stored values that are 0 and 255 in them."""
        return Depth(tuple(self.metadata.get("bands", ())), tuple(self.metadata.get("range", ())))

    @property
    def size(self) -> Size | None:
        """(height, width) that the network resizes every image to; None: no resizing."""
        return tuple(self.metadata["size"]) if self.metadata["size"] else None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Segments photographs of one size.

        Args:
          image: [b h w c] in 0..255, uint8, or float32 where `depth` has a range.

        Returns:
          Probabilities, float32 [b h w k], or class ids [b h w], at the size of the images; see `output`.

        Raises:
          ArtefactError: the image has another shape or type, or the network does not fit its metadata.
        """
        channels, dtype = self.depth.channels, self.depth.dtype
        if image.ndim != 4 or image.shape[-1] != channels or image.dtype != dtype or 0 in image.shape:
            raise ArtefactError(
                f"images of shape {image.shape} and type {image.dtype}: they must be {dtype} [batch, height, width, "
                f"{channels}] in 0..255. For a single one pass image[None]."
            )
        result = self.apply(image)
        expected = (*image.shape[:3], len(self.table)) if self.output == "probabilities" else image.shape[:3]
        if result.shape != expected or (result.ndim == 3 and result.max() >= len(self.table)):
            raise ArtefactError(
                f"the network answers with {result.dtype} {result.shape} for images {image.shape} and "
                f"{len(self.table)} classes; export it again."
            )
        return result if self.output == "probabilities" else result.astype(self.table.dtype)


def load(path: str | Path) -> Artefact:
    """Loads any exported file; the format is recognised by the content.

    Args:
      path: a file, or the directory of a SavedModel.

    Raises:
      ArtefactError: the file is missing, not an artefact, or not as it was written; its runtime is not installed.
    """
    path = Path(path).expanduser()
    kind = _kind(path)
    changed = ArtefactError(
        f"{path} is not as it was exported: its content and the checksum inside disagree. Copy or export it again."
    )
    try:
        sealed = intact(path)
        if sealed is False:
            raise changed
        documents, read = READERS[kind](path)
        metadata = contents.metadata(documents["metadata.json"], path)
        if sealed is None and metadata.get("sealed"):  # earlier exports have no checksum
            raise changed
        names = documents["class_names.json"]
        table = LabelTable.from_json(names if isinstance(names, str) else names.decode())
        if len(classes := metadata.get("classes", table.names)) != len(table):
            raise ArtefactError(f"{path} names {len(table)} classes, its network has {len(classes)}; {contents.CURE}.")
        return Artefact(table, metadata, read(metadata, table))
    except ModuleNotFoundError as error:
        if error.name in ("onnxruntime", "ai_edge_litert"):
            raise ArtefactError(f"{path} needs {error.name}. Add it: {install_command(kind)}") from error
        raise
    except ArtefactError:
        raise
    except Exception as error:  # every runtime raises its own exceptions for damaged files
        if of_the_machine(error):
            raise MachineError(f"{path} could not be read now ({error!r}). Mend that, and try again.") from error
        raise ArtefactError(
            f"{path} cannot be used ({type(error).__name__}: {str(error)[:200]!r}). It is damaged, or "
            "not written by python -m seg_jax.export; export it again."
        ) from error


def _kind(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return "savedmodel"
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(9)
        matches = {"stablehlo": start[:4] == b"PK\x03\x04", "tflite": start[4:8] == b"TFL3"}
        matches |= {"safetensors": start[8:9] == b"{", "onnx": start[:1] == b"\x08"}
        if kind := next((kind for kind, match in matches.items() if match), ""):
            return kind
    raise ArtefactError(
        f"{path} is not an exported network{'.' if path.exists() else ': it does not exist.'} "
        f"Write one with python -m seg_jax.export; formats: {', '.join(READERS)}."
    )


# path -> (documents of the file, a function of metadata and label table that makes the callable).
Reader = Callable[[Path], tuple[Mapping[str, str | bytes], Callable[[dict[str, Any], LabelTable], Apply]]]


def _stablehlo(path: Path) -> Any:
    import jax.export

    documents = contents.members(path, "module.bin", *contents.DOCUMENTS)
    exported = jax.export.deserialize(bytearray(documents["module.bin"]))
    call = jax.jit(exported.call)
    return documents, lambda metadata, table: lambda image: np.asarray(call(image))


def _savedmodel(path: Path) -> Any:
    import tensorflow as tf

    documents = {name: (path / "assets" / name).read_bytes() for name in contents.DOCUMENTS}
    call = tf.saved_model.load(str(path)).signatures["serving_default"]

    def apply(image: np.ndarray) -> np.ndarray:
        try:
            (result,) = call(image=tf.constant(image)).values()
        except tf.errors.InvalidArgumentError as error:
            if "failed to deserialize portable artifact" not in str(error):
                raise
            raise ArtefactError(
                f"{path} was exported beside a newer TensorFlow than this one, {tf.__version__}, which does not "
                "understand it. Update TensorFlow, or export it again beside this one."
            ) from error
        return result.numpy()

    return documents, lambda metadata, table: apply


def _onnx(path: Path) -> Any:
    import onnxruntime

    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    session = onnxruntime.InferenceSession(str(path), providers=providers)
    documents = session.get_modelmeta().custom_metadata_map
    return documents, lambda metadata, table: lambda image: session.run(None, {"image": image})[0]


def _tflite(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    documents = contents.members(path, *contents.DOCUMENTS)
    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def one(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source, image[None])
        interpreter.invoke()
        return interpreter.get_tensor(result)[0]

    return documents, lambda metadata, table: at_size(
        lambda images: np.stack([one(image) for image in images]), tuple(metadata["size"])
    )


def _safetensors(path: Path) -> Any:
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        documents = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping
    # Weights may be stored in half the bytes; the network has float32.
    arrays = {name: a.astype(np.float32) if a.dtype == np.float16 else a for name, a in arrays.items()}

    def make(metadata: dict[str, Any], table: LabelTable) -> Apply:
        from seg_jax.config import from_json
        from seg_jax.run import program
        from seg_jax.run.stored import fill
        from seg_jax.runtime import sharding

        config = from_json(json.dumps(metadata["config"]))
        functions = program.Functions(config, classes=len(table), mesh=sharding.make_mesh(1))
        weights = fill(functions.abstract_state.weights(averaged=False), arrays, str(path))
        return rebuilt(functions, weights, metadata)

    return documents, make


READERS: Mapping[str, Reader] = {
    "stablehlo": _stablehlo,
    "savedmodel": _savedmodel,
    "onnx": _onnx,
    "tflite": _tflite,
    "safetensors": _safetensors,
}


def rebuilt(functions: Any, weights: Mapping[str, Any], metadata: Mapping[str, Any]) -> Apply:
    """The computation of an artefact, by the network it was made from.

    Args:
      functions: the `program.Functions` of the run.
      weights: {'params', 'model_state'}.
      metadata: reads 'size' and 'output'.
    """

    def apply(image: np.ndarray) -> np.ndarray:
        return np.asarray(functions.predict()(weights["params"], weights["model_state"], image))

    sized = at_size(apply, tuple(metadata["size"])) if metadata["size"] else apply
    return sized if metadata["output"] == "probabilities" else lambda image: sized(image).argmax(-1)
