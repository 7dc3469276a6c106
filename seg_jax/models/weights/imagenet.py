"""ImageNet weights by name: from an installed package, or through keras.applications."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from seg_jax.models.weights.files import WeightFile, WeightsError, layer_and_weight, read
from seg_jax.runtime.extras import install_command


def from_package(module: str) -> WeightFile:
    """The weight file inside an installed package; nothing of the package is run.

    Raises:
      WeightsError: the package is not installed.
    """
    spec = importlib.util.find_spec(module)
    folders = spec.submodule_search_locations or [] if spec else []
    found = sorted(path for folder in folders for path in Path(folder).rglob("*.pth"))
    if not found:
        raise WeightsError(
            f"the package {module.replace('_', '-')}, which holds these ImageNet weights, is not installed. Run "
            f"{install_command('pretrained')}, or pass the path of a weight file."
        )
    return read(found[0])


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
    tensors = {layer_and_weight(weight.path): np.asarray(weight) for weight in network.weights}
    return WeightFile(Path(f"keras.applications.{function}"), "keras", tensors)
