"""What other libraries call the tensors of our networks, and how their arrays are laid out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean, deviation of RGB in 0..1; torchvision's
UNIT = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # to [-1, 1]: TensorFlow's MobileNets
CAFFE = ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255))  # 0..255 minus the mean

# Layers of a classifier on top of a Keras network: the official names, and Keras's own for dense layers.
KERAS_CLASSIFIER = (r"(predictions|probs|fc\d|.*[Dd]ense.*)/.*",)

# What our arrays are called in each layout; the first that is there counts.
LEAVES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "torch": {
        "kernel": ("weight",),
        "scale": ("weight",),
        "bias": ("bias",),
        "mean": ("running_mean",),
        "var": ("running_var",),
    },
    "keras": {
        "kernel": ("kernel", "depthwise_kernel"),
        "scale": ("gamma",),
        "bias": ("bias", "beta"),
        "mean": ("moving_mean",),
        "var": ("moving_variance",),
    },
}


@dataclass(frozen=True)
class Naming:
    """One library's names for the tensors of one network, and the arithmetic that its weights need.

    Attributes:
      layers: network -> {path of our module, without a trailing '/bn': their layer}, in their order of layers. A
        path may also be that of an array of ours ('stage1_block1/scale') and name their tensor.
      layout: 'torch' (kernels [out in h w], names a.b.c) or 'keras' (kernels [h w in out], names layer/leaf).
      style: of the arithmetic, one of the styles of the encoder.
      normalisation: (mean, deviation) of RGB in 0..1 that the weights were trained with.
      bgr: the weights expect blue first.
      image: our module that sees the image; it is adapted to other numbers of channels.
      unused: regular expressions for tensors that such a file may hold besides: a classifier.
      kinds: how the name of their layer ends -> kind of Keras layer, where our arrays do not tell it (see
        `convert.by_layer`); 'sequential_1/conv2d' is a layer in the second model inside of the model.
      fused: their layers that hold several of ours, one after the other -> what `layers` calls those; ends of names.
    """

    layers: Callable[[Any], Mapping[str, str]]
    layout: str = "torch"
    style: str = "torch"
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    bgr: bool = False
    image: str = "stem/conv"
    unused: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    fused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def candidates(path: str, layers: Mapping[str, str], layout: str) -> tuple[str, ...]:
    """What a file in `layout` may call our array `path` ('stem/conv/kernel'); the first that is there counts.

    () for a module that the library has not.
    """
    if path in layers:
        return (layers[path],)
    module, _, leaf = path.rpartition("/")
    layer = layers.get(module.removesuffix("/bn"))
    if layer is None:
        return ()
    separator = "." if layout == "torch" else "/"
    return tuple(f"{layer}{separator}{name}" for name in LEAVES[layout][leaf])


def arrange(array: np.ndarray, shape: tuple[int, ...], layout: str) -> np.ndarray:
    """An array of a file in our order of axes; where it cannot be brought to `shape`, as it came."""
    if layout == "torch":
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif array.ndim == 2:
            array = array.T
    elif array.ndim == 4 and shape != array.shape and shape == (*array.shape[:2], array.shape[3], array.shape[2]):
        array = array.transpose(0, 1, 3, 2)  # a depthwise kernel [h w c 1]
    # A 1x1 convolution may be stored as a matrix, a scale with axes of length 1.
    if array.size == np.prod(shape) and [n for n in array.shape if n > 1] == [n for n in shape if n > 1]:
        array = array.reshape(shape)
    return array


def split(tensors: Mapping[str, np.ndarray], fused: Mapping[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
    """The tensors of a file in torch layout, with those of `Naming.fused` layers in equal parts of their outputs."""
    tensors = dict(tensors)
    for name in list(tensors):
        layer, _, leaf = name.rpartition(".")
        for end, parts in fused.items():
            if layer.endswith(end):
                arrays = np.array_split(tensors.pop(name), len(parts))
                for part, array in zip(parts, arrays, strict=True):
                    tensors[f"{layer.removesuffix(end)}{part}.{leaf}"] = array
    return tensors


def uncompiled(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without the '_orig_mod.' that torch.compile puts before the names of a part: 'encoder._orig_mod.conv1.weight'.

    As a part of what all names begin with it stays: that is a prefix like any other.
    """
    shared = os.path.commonprefix([*tensors])  # noqa: RUF071 - of names, no paths
    return {shared + name[len(shared) :].replace("_orig_mod.", ""): array for name, array in tensors.items()}


def adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A first convolution [h w 3 c] for another number of input channels.

    Its input channels are repeated in turn and rescaled by 3 / channels, so that a picture whose channels are all
    equal gives nearly what it gave (exactly, for multiples of 3).
    """
    have = kernel.shape[2]
    if have == channels:
        return kernel
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return kernel[:, :, np.arange(channels) % have] * np.float32(have / channels)
