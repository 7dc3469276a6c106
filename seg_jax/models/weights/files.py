"""Reads the weight files of other libraries into named arrays; nothing in them is executed."""

from __future__ import annotations

import io
import json
import logging
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.models.weights import hdf5, pickles
from seg_jax.models.weights.errors import WeightsError
from seg_jax.models.weights.naming import uncompiled


@dataclass(frozen=True)
class WeightFile:
    """The arrays of one file.

    Attributes:
      path: of the file, or of the folder that holds it.
      layout: 'torch' (a.b.weight) or 'keras' (layer/kernel).
      tensors: name -> array.
      ordered: the names are those of Keras 3's `.weights.h5`: kind of layer, counted in the order of layers
        ('conv2d_1/0' is the first array of the second convolution), instead of layers' own.
      prefix: what stood in front of all names ('module.') and was taken off.
    """

    path: Path
    layout: str
    tensors: Mapping[str, np.ndarray]
    ordered: bool = False
    prefix: str = ""


# Where a folder of `save_pretrained` keeps its weights; the first that is there is read.
IN_FOLDERS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")

COUNTER = "num_batches_tracked"  # of PyTorch's batch norm: no part of the network
MEMBER = "model.weights.h5"  # of `.keras` archives

# Where a training's checkpoint keeps the network: averaged weights, which are those to use, before the last ones.
STATES = (
    *("state_dict_ema", "model_ema", "ema", "shadow", "state_dict", "model_state_dict", "net_state_dict"),
    *("model", "model_state", "module", "network", "net", "weights", "params"),
)


def read(path: Path) -> WeightFile:
    """Reads a weight file or a folder of `save_pretrained`; suffixes in `READERS`.

    Raises:
      WeightsError: no such file, damage, another format, a value that is not finite.
      OSError: the machine cannot open it now.
    """
    source = path
    path = next((path / name for name in IN_FOLDERS if (path / name).is_file()), path)
    if not path.is_file():
        none = f": it holds none of {', '.join(IN_FOLDERS)}" if path.is_dir() else ""
        raise WeightsError(
            f"there are no weights at {path}{none}. Pass the path of a weight file or of a run directory."
        )
    suffix = Path(path.stem if path.suffix.lower() == ".tar" else path.name).suffix.lower()  # best.pth.tar is a .pth
    read_as = _shards if path.name.endswith(".index.json") else READERS.get(suffix)
    if read_as is None:
        raise WeightsError(
            f"{path} is none of {', '.join(READERS)}. Other pickles and archives are not read: they can run programs."
        )
    path.open("rb").close()  # readers take every error for damage, which to fetch the file again would not mend
    file = read_as(path)
    if not file.tensors:
        raise WeightsError(f"{path} holds no arrays. Pass the path of the file that holds the weights.")
    _require_finite(path, file.tensors)
    return replace(file, path=source, tensors=uncompiled(file.tensors))


def tensors(path: Path) -> Mapping[str, np.ndarray]:
    """{name: array} of a weight file; raises as `read` does."""
    return read(path).tensors


def documents(path: Path) -> dict[str, str]:
    """The texts that a safetensors file holds beside its tensors; {} for other files and where there are none."""
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}  # `read` says what is wrong with it


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
      WeightsError: there is no such file, or it holds no whole JSON object.
    """
    if not path.is_file():
        raise WeightsError(
            f"{path.parent} holds no {path.name}. Fetch it, too: it says what the weights beside it are."
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not whole JSON ({error}); fetch it again.") from error
    if not isinstance(document, dict):
        raise WeightsError(f"{path} holds a {type(document).__name__}, not a JSON object; fetch it again.")
    return document


def _require_finite(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    bad = {name: count for name, array in tensors.items() if (count := array.size - int(np.isfinite(array).sum()))}
    if bad:
        name, count = next(iter(bad.items()))
        raise WeightsError(
            f"{path}: {count} of the {tensors[name].size} values of {name} are NaN or infinite ({len(bad)} of "
            f"{len(tensors)} tensors have such values). Every output would be NaN, too: use an earlier checkpoint of "
            "that training, or fetch the file again."
        )


def shards_of(index: Path) -> dict[str, str]:
    """{name of a tensor: the file beside the index that holds it}.

    Raises:
      WeightsError: the index is not whole.
    """
    found = read_json(index).get("weight_map")
    places: dict[str, Any] = found if isinstance(found, dict) else {}
    if not places or not all(isinstance(name, str) and Path(name).name == name for name in places.values()):
        raise WeightsError(f"{index} has no weight_map of tensor names and files beside it; fetch it again.")
    return places


def _shards(index: Path) -> WeightFile:
    """The tensors of all files that an index names."""
    places = shards_of(index)
    tensors: dict[str, np.ndarray] = {}
    for name in sorted(set(places.values())):
        path = index.parent / name
        if not path.is_file() or path.suffix.lower() not in READERS:
            raise WeightsError(f"{index} names {name}, which is missing. Fetch it from the source of the others.")
        tensors |= READERS[path.suffix.lower()](path).tensors
    if missing := sorted(name for name in places if name not in tensors and not name.endswith(COUNTER)):
        raise WeightsError(
            f"{index} promises {missing[0]} in {places[missing[0]]}, which has no such tensor (one of {len(missing)}); "
            "the files are not of one network. Fetch the folder again."
        )
    return WeightFile(index, "torch", tensors)


def _safetensors(path: Path) -> WeightFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, TypeError, OSError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}); fetch it again.") from error
    return WeightFile(path, "torch", _without_counters(tensors))


def _torch(path: Path) -> WeightFile:
    try:
        state = pickles.load(path)
    except pickles.PickleError as error:
        raise WeightsError(
            f"{path} is no plain state dict: {error}. Pickles are read as data alone, because they can run programs. "
            "Save model.state_dict(), or fetch the file again."
        ) from error
    found = _state_dicts(state, ())
    if not found:
        raise WeightsError(f"{path} holds no state dict. Save model.state_dict().")
    (where, named), *others = found
    if where:
        rest = ", ".join(repr(".".join(keys)) for keys, _ in others)
        logging.info("%s: the weights under %r are read%s", path, ".".join(where), f", not {rest}" if rest else "")
    tensors = {name: np.asarray(array, np.float32) for name, array in named.items()}
    return WeightFile(path, "torch", _without_counters(tensors))


def _state_dicts(state: Any, keys: tuple[str, ...]) -> list[tuple[tuple[str, ...], dict[str, np.ndarray]]]:
    """(keys that lead to it, state dict) of those in a checkpoint, the one to use first; three levels down at most."""
    if not isinstance(state, dict):
        return []
    if state and all(isinstance(name, str) and isinstance(array, np.ndarray) for name, array in state.items()):
        return [(keys, state)]
    inner = [key for key in STATES if key in state] if len(keys) < 3 else []
    return [found for key in inner for found in _state_dicts(state[key], (*keys, key))]


def _without_counters(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in tensors.items() if not name.endswith(COUNTER)}


def _keras(path: Path) -> WeightFile:
    """`.keras`: a zip archive with what `save_weights` writes as a member; the other members are not opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(MEMBER)
            if member.compress_type != zipfile.ZIP_STORED:
                raise WeightsError(f"{path} is compressed, which Keras does not do. Unpack it, and pass {MEMBER}.")
            content = io.BytesIO(archive.read(member))
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{path} is not a whole archive of Keras 3 ({error}); fetch it again.") from error
    return _h5(path, content)


def _h5(path: Path, content: io.BytesIO | None = None) -> WeightFile:
    found, ordered = hdf5.arrays(path, content)
    tensors: dict[str, np.ndarray] = {}
    for name, array in found.items():
        if ordered:
            # layers/conv2d_1/vars/0; in an encoder inside of a model layers/functional/layers/conv2d_1/vars/0.
            key = re.sub(r"(^|/)(layers|_layer_checkpoint_dependencies)/", r"\1", name).replace("/vars/", "/")
            key = re.sub(r"^(functional(_\d+)?/)+", "", key)
        else:
            key = layer_and_weight(name)
        others = {"optimizer", "optimizer_weights", "seed_generator"} & set(name.split("/"))
        if others or name.startswith("vars/") or array.dtype.kind != "f":
            continue
        if key in tensors:
            raise WeightsError(f"{path} holds two tensors that are called {key}; it is not one network.")
        tensors[key] = array
    return WeightFile(path, "keras", tensors, ordered)


def layer_and_weight(name: str) -> str:
    """model/layer/layer/kernel:0 -> layer/kernel. A layer scale's only weight has no name; it is called gamma here."""
    key = "/".join(name.split("/")[-2:]).removesuffix(":0")
    return re.sub(r"/[Vv]ariable(_\d+)?$", "/gamma", key)


READERS: Mapping[str, Callable[[Path], WeightFile]] = {
    **dict.fromkeys((".h5", ".hdf5"), _h5),
    ".keras": _keras,
    ".safetensors": _safetensors,
    **dict.fromkeys((".pth", ".pt", ".ckpt", ".bin"), _torch),
}
