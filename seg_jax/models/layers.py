"""Blocks shared by encoders and decoders; NHWC, float32 parameters, computation in `dtype`.

XLA's CPU backend is slow for some operations that have a faster equivalent: 1x1 and 2x2 transposed convolution as
matrix products, depthwise convolution as shifted multiply-adds, max pooling and bilinear upsampling from slices.
`python -m benchmarks.layers` measures each. Parameters have the names and shapes of flax.linen.Conv in either form.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from seg_jax.models.convolution import convolve_cpu
from seg_jax.models.operators import converting, on_cpu, on_one_cpu, operator, window

Dtype = Any
glorot = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")  # Glorot and Bengio 2010
kaiming = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al. 2015, as in torchvision


@dataclass(frozen=True)
class Style:
    """The arithmetic shared by all blocks of a network; weights are only correct with the one they were trained with.

    Attributes:
      norm: a key of `NORMS`.
      epsilon: added to the variance in batch and layer norms.
      momentum: momentum of the running statistics, new = momentum * old + (1 - momentum) * batch.
      padding: padding of convolutions with an odd kernel, see `Conv`.
      dilate_first: whether the first spatial convolution of a dilated stage is dilated too, as in
        segmentation_models.pytorch. In other libraries it is not: it still sees the grid of the previous stage.
      remat: whether the inside of blocks is recomputed in the backward pass instead of stored, see `remat`.
      dtype: dtype of the computation.
    """

    norm: str = "batch"
    epsilon: float = 1e-5
    momentum: float = 0.9
    padding: str = "symmetric"
    dilate_first: bool = False
    remat: bool = False
    dtype: Dtype = jnp.float32


def remat(block: Callable[..., Any], style: Style) -> Callable[..., Any]:
    """A module class with the method (x, train); with `style.remat`, the same class with rematerialisation.

    Only the input of each block is then stored for the backward pass (Chen et al. 2016): less memory for a third more
    work. Parameters keep their names.
    """
    return nn.remat(block, static_argnums=(2,)) if style.remat else block


def pads(padding: str | tuple[int, int], size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """(before, after): number of zeros that `Conv` adds along an axis of `size` pixels."""
    reach = dilation * (kernel - 1)
    if padding == "symmetric":
        return reach // 2, reach // 2
    if padding == "same":
        total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
        return total // 2, total - total // 2
    assert not isinstance(padding, str), padding
    return padding


class Conv(nn.Module):
    """Convolution.

    Attributes:
      features: output channels.
      kernel: height and width of the kernel.
      stride, dilation, groups: as usual; with as many groups as channels it is a depthwise convolution.
      bias: whether to add a learned bias; not useful before a norm.
      padding: 'symmetric' (as in PyTorch: half the kernel on either side), 'same' (as in TensorFlow: the least that
        gives ceil(size / stride), with the odd pixel at the end; it differs from 'symmetric' for strides), or
        (before, after).
      kernel_init: initializer of the kernel.
      dtype: dtype of the computation.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    bias: bool = False
    padding: str | tuple[int, int] = "symmetric"
    kernel_init: nn.initializers.Initializer = kaiming
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b h w c] -> [b ceil(h / stride) ceil(w / stride) features] with 'symmetric' or 'same' padding."""
        channels = x.shape[-1]
        shape = (self.kernel, self.kernel, channels // self.groups, self.features)
        # Flax traces the initializer at every application for its shape, which is half of the time of tracing.
        kernel_init = self.kernel_init if self.is_initializing() else nn.initializers.zeros
        kernel = self.param("kernel", kernel_init, shape, jnp.float32).astype(self.dtype)
        x = x.astype(self.dtype)
        around = [pads(self.padding, n, self.kernel, self.stride, self.dilation) for n in x.shape[1:3]]
        if self.kernel == 1 and self.groups == 1 and not converting():
            every = slice(None, None, self.stride)
            y = window(x, every, every)
            if on_one_cpu():  # the gradient of a matrix product is six times as fast as that of a product of rank 4
                y = (y.reshape(-1, channels) @ kernel[0, 0]).reshape(*y.shape[:3], self.features)
            else:
                y = y @ kernel[0, 0]
        elif on_cpu() and self.groups == channels == self.features:
            y = self._depthwise(x, kernel, around)
        elif on_one_cpu() and self.stride == self.dilation == self.groups == 1:
            y = convolve_cpu(x, kernel, tuple(around))
        else:
            y = jax.lax.conv_general_dilated(
                x,
                kernel,
                window_strides=(self.stride, self.stride),
                padding=around,
                rhs_dilation=(self.dilation, self.dilation),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=self.groups,
            )
        if self.bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
        return y

    def _depthwise(self, x: jax.Array, kernel: jax.Array, around: list[tuple[int, int]]) -> jax.Array:
        x = jnp.pad(x, ((0, 0), *around, (0, 0)))
        reach = self.dilation * (self.kernel - 1)
        # In the padded map, the end of the pixels that the first tap reads.
        h, w = (n - reach for n in x.shape[1:3])
        # Split, not indexed: the gradient is then one concatenation instead of a padded kernel for every tap.
        taps = jax.lax.split(kernel.reshape(-1, kernel.shape[-1]), (1,) * self.kernel**2)
        y = jnp.zeros((), x.dtype)
        for (i, j), tap in zip(itertools.product(range(self.kernel), repeat=2), taps, strict=True):
            top, left = i * self.dilation, j * self.dilation
            rows, columns = slice(top, top + h, self.stride), slice(left, left + w, self.stride)
            y += window(x, rows, columns) * tap
        return y


class Head(Conv):
    """The convolution that computes the logits, with one feature for each class.

    Its initial values are small. Those of the other convolutions, which expect a ReLU and equal numbers of inputs and
    outputs, would give logits of 4 to 7 and a first loss of several times ln k.
    """

    kernel: int = 1
    bias: bool = True
    kernel_init: nn.initializers.Initializer = glorot


class UpConv(nn.Module):
    """Transposed 2x2 convolution with stride 2: doubles height and width (U-Net's "up-convolution")."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b h w c] -> [b 2h 2w features]."""
        kernel = self.param("kernel", kaiming, (2, 2, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        # The kernel is flipped as in flax.linen.ConvTranspose.
        flipped = kernel[::-1, ::-1].astype(self.dtype)
        return up_conv_2x2(x.astype(self.dtype), flipped) + bias.astype(self.dtype)


@operator
def up_conv_2x2(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed convolution of [b h w c] with `kernel` [2 2 c d] and stride 2: [b 2h 2w d]."""
    b, h, w, _ = x.shape
    # Windows do not overlap, so this is one matrix product.
    return jnp.einsum("bhwc,ijcd->bhiwjd", x, kernel).reshape(b, 2 * h, 2 * w, kernel.shape[-1])


class Norm(nn.Module):
    """Normalisation by `style.norm`: 'batch', 'frozen', 'group' (Wu and He 2018, 32 groups or fewer) or 'none'.

    Batch statistics are computed over the whole batch on all devices, in float32. 'frozen' is batch norm that uses its
    running statistics also in training and never changes them; scale and bias are learned.
    """

    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Normalises, keeping the shape; in training with batch statistics, which update the running ones."""
        return NORMS[self.style.norm](x, train, self.style)


def _batch(x: jax.Array, train: bool, style: Style) -> jax.Array:
    norm = nn.BatchNorm(
        use_running_average=not train, momentum=style.momentum, epsilon=style.epsilon, dtype=style.dtype, name="bn"
    )
    return norm(x)


def _group(x: jax.Array, train: bool, style: Style) -> jax.Array:
    groups = max(g for g in range(1, 33) if x.shape[-1] % g == 0)
    return nn.GroupNorm(num_groups=groups, epsilon=1e-5, dtype=style.dtype, name="gn")(x)


NORMS: dict[str, Callable[[jax.Array, bool, Style], jax.Array]] = {
    "batch": _batch,
    "frozen": lambda x, train, style: _batch(x, False, style),
    "group": _group,
    "none": lambda x, train, style: x,
}

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "none": lambda x: x,
    "relu": nn.relu,
    "relu6": nn.relu6,
    "silu": nn.silu,
}


class ConvNormAct(nn.Module):
    """Convolution, norm, activation.

    Attributes:
      features, kernel, stride, dilation, groups: see `Conv`.
      activation: a key of `ACTIVATIONS`.
      bias: whether the convolution has a bias; None: only if no norm follows.
      padding: padding of the convolution; None: the style's.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    activation: str = "relu"
    bias: bool | None = None
    padding: str | tuple[int, int] | None = None
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b ceil(h / stride) ceil(w / stride) features]."""
        x = Conv(
            self.features,
            self.kernel,
            self.stride,
            self.dilation,
            self.groups,
            bias=self.style.norm == "none" if self.bias is None else self.bias,
            padding=self.padding or self.style.padding,
            dtype=self.style.dtype,
            name="conv",
        )(x)
        return ACTIVATIONS[self.activation](Norm(self.style, name="norm")(x, train))
