"""Reads the weight files of other libraries into named arrays; nothing in them is executed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np


class WeightsError(ValueError):
    """A weight file that cannot be used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class WeightFile:
    """The arrays of one file.

    Attributes:
      path: of the file.
      layout: 'torch' (a.b.weight) or 'keras' (layer/kernel).
      tensors: name -> array.
      ordered: the names are those of Keras 3's `.weights.h5`: kind of layer, counted in the order of layers
        ('conv2d_1/0' is the first array of the second convolution), instead of layers' own.
    """

    path: Path
    layout: str
    tensors: Mapping[str, np.ndarray]
    ordered: bool = False


def read(path: Path) -> WeightFile:
    """Reads `.h5` (Keras, legacy weights or a whole model), `.weights.h5` (Keras 3), `.safetensors`, `.pth`/`.pt`.

    Raises:
      WeightsError: there is no such file, it is damaged or of another format, or `.pth` without torch.
    """
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}. Pass the path of a weight file or of a run directory.")
    suffix = path.suffix.lower()
    readers = {".h5": _h5, ".hdf5": _h5, ".safetensors": _safetensors, ".pth": _torch, ".pt": _torch}
    if suffix not in readers:
        raise WeightsError(
            f"{path} is none of {', '.join(readers)}. Other pickles and archives are not read: they can run programs."
        )
    file = readers[suffix](path)
    if not file.tensors:
        raise WeightsError(f"{path} holds no arrays. Pass the path of the file that holds the weights.")
    return file


def _safetensors(path: Path) -> WeightFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, TypeError, OSError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error}); fetch it again.") from error
    return WeightFile(path, "torch", _without_prefix(tensors))


def _torch(path: Path) -> WeightFile:
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path} is a PyTorch archive, which only torch can read. Install torch, or convert the file once, where "
            "torch is: safetensors.torch.save_file(torch.load(PATH, weights_only=True), 'weights.safetensors')."
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{path} is not a plain state dict ({type(error).__name__}: {str(error).splitlines()[0]}); it is read with "
            "weights_only=True, because a pickle can run programs."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(hasattr(value, "numpy") for value in state.values()):
        raise WeightsError(f"{path} holds no state dict. Save model.state_dict().")
    return WeightFile(path, "torch", _without_prefix({name: t.float().numpy() for name, t in state.items()}))


def _without_prefix(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without the counters of batch norm, and without 'module.', which PyTorch's data parallelism adds to all names."""
    tensors = {name: array for name, array in tensors.items() if not name.endswith("num_batches_tracked")}
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): array for name, array in tensors.items()}
    return tensors


def _h5(path: Path) -> WeightFile:
    import h5py

    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    try:
        with h5py.File(path) as file:
            ordered = "layers" in file or "_layer_checkpoint_dependencies" in file
            file.get("model_weights", file).visititems(visit)
    except (OSError, RuntimeError, KeyError) as error:
        raise WeightsError(f"{path} is not a whole HDF5 file ({error}); fetch it again.") from error
    tensors: dict[str, np.ndarray] = {}
    for name, array in found.items():
        if ordered:
            # layers/conv2d_1/vars/0; in an encoder inside of a model layers/functional/layers/conv2d_1/vars/0.
            key = re.sub(r"(^|/)(layers|_layer_checkpoint_dependencies)/", r"\1", name).replace("/vars/", "/")
            key = re.sub(r"^(functional(_\d+)?/)+", "", key)
        else:
            key = _layer_and_weight(name)
        others = {"optimizer", "optimizer_weights", "seed_generator"} & set(name.split("/"))
        if others or name.startswith("vars/") or array.dtype.kind != "f":
            continue
        if key in tensors:
            raise WeightsError(f"{path} holds two tensors that are called {key}; it is not one network.")
        tensors[key] = array
    return WeightFile(path, "keras", tensors, ordered)


def _layer_and_weight(name: str) -> str:
    """model/layer/layer/kernel:0 -> layer/kernel. A layer scale's only weight has no name; it is called gamma here."""
    key = "/".join(name.split("/")[-2:]).removesuffix(":0")
    return re.sub(r"/[Vv]ariable(_\d+)?$", "/gamma", key)


def from_keras(function: str, *, encoder: str, alpha: float) -> WeightFile:
    """ImageNet weights by name, through keras.applications' own downloader and cache (~/.keras/models).

    Args:
      function: of keras.applications, such as 'MobileNetV2'; '': it has no such network.
      encoder: our name, for messages.
      alpha: width multiplier of the MobileNets.

    Raises:
      WeightsError: Keras has none for this network, or could not fetch them.
    """
    if not function:
        raise WeightsError(
            f"keras.applications has no {encoder}, so model.encoder.weights = 'imagenet' cannot be fetched. "
            "Pass the path of a weight file of torchvision or timm (.safetensors)."
        )
    import keras

    # MobileNets warn without the size that they were trained at; the weights do not depend on it.
    options = {"input_shape": (224, 224, 3), **({"alpha": alpha} if "MobileNet" in function else {})}
    try:
        network = getattr(keras.applications, function)(weights="imagenet", include_top=False, **options)
    except Exception as error:
        raise WeightsError(
            f"keras.applications.{function} could not fetch its weights ({type(error).__name__}: {error}). Without a "
            "network, fetch the file elsewhere and pass its path."
        ) from error
    tensors = {_layer_and_weight(weight.path): np.asarray(weight) for weight in network.weights}
    return WeightFile(Path(f"keras.applications.{function}"), "keras", tensors)
