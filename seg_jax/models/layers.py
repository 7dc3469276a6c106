"""Blocks shared by encoders and decoders; NHWC, float32 parameters, computation in `dtype`.

XLA's CPU backend is slow for some operations that have a faster equal form: 1x1 and 2x2 transposed convolution
as matrix products, depthwise convolution as shifted multiply-adds, max pooling and bilinear upsampling from slices.
`python -m benchmarks.layers` measures each. Parameters have the names and shapes of flax.linen.Conv in either form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Dtype = Any
kaiming = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # He et al. 2015, as in torchvision


def on_cpu() -> bool:
    """Whether the program being traced will run on XLA's CPU backend."""
    return jax.default_backend() == "cpu"


class Conv(nn.Module):
    """Convolution with symmetric padding: an odd kernel keeps the size at stride 1.

    Attributes:
      features: output channels.
      kernel: height and width of the kernel.
      stride, dilation, groups: as usual; groups equal to the channels is a depthwise convolution.
      bias: adds a learned bias; leave it out in front of a norm.
      dtype: of the computation.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    bias: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b h w c] -> [b ceil(h / stride) ceil(w / stride) features]."""
        channels = x.shape[-1]
        shape = (self.kernel, self.kernel, channels // self.groups, self.features)
        kernel = self.param("kernel", kaiming, shape, jnp.float32).astype(self.dtype)
        x = x.astype(self.dtype)
        pad = self.dilation * (self.kernel - 1) // 2
        if self.kernel == 1 and self.groups == 1:
            y = x[:, :: self.stride, :: self.stride] @ kernel[0, 0]
        elif on_cpu() and self.groups == channels == self.features:
            y = self._depthwise(x, kernel, pad)
        else:
            y = jax.lax.conv_general_dilated(
                x,
                kernel,
                window_strides=(self.stride, self.stride),
                padding=((pad, pad), (pad, pad)),
                rhs_dilation=(self.dilation, self.dilation),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=self.groups,
            )
        if self.bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
        return y

    def _depthwise(self, x: jax.Array, kernel: jax.Array, pad: int) -> jax.Array:
        h, w = x.shape[1:3]
        x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        y = jnp.zeros((), x.dtype)
        for i in range(self.kernel):
            for j in range(self.kernel):
                top, left = i * self.dilation, j * self.dilation
                y += x[:, top : top + h : self.stride, left : left + w : self.stride] * kernel[i, j, 0]
        return y


class UpConv(nn.Module):
    """Transposed 2x2 convolution with stride 2: doubles height and width (U-Net's "up-convolution")."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[b h w c] -> [b 2h 2w features]."""
        b, h, w, c = x.shape
        kernel = self.param("kernel", kaiming, (2, 2, c, self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        # Windows do not overlap, so it is one matrix product; the kernel is turned as flax.linen.ConvTranspose does.
        flipped = kernel[::-1, ::-1].astype(self.dtype)
        y = jnp.einsum("bhwc,ijcd->bhiwjd", x.astype(self.dtype), flipped)
        return y.reshape(b, 2 * h, 2 * w, self.features) + bias.astype(self.dtype)


class Norm(nn.Module):
    """Normalisation by name: 'batch', 'group' (Wu and He 2018, 32 groups or fewer) or 'none'.

    Batch statistics are of the whole batch on all devices, in float32.
    """

    kind: str = "batch"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Same shape; in training mode batch statistics are used and the running ones updated."""
        return NORMS[self.kind](x, train, self.dtype)


def _batch(x: jax.Array, train: bool, dtype: Dtype) -> jax.Array:
    norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype, name="bn")
    return norm(x)


def _group(x: jax.Array, train: bool, dtype: Dtype) -> jax.Array:
    groups = max(g for g in range(1, 33) if x.shape[-1] % g == 0)
    return nn.GroupNorm(num_groups=groups, epsilon=1e-5, dtype=dtype, name="gn")(x)


NORMS: dict[str, Callable[[jax.Array, bool, Dtype], jax.Array]] = {
    "batch": _batch,
    "group": _group,
    "none": lambda x, train, dtype: x,
}


class ConvNormRelu(nn.Module):
    """Convolution, norm, ReLU; the convolution has a bias only where no norm follows."""

    features: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    norm: str = "batch"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[b h w c] -> [b ceil(h / stride) ceil(w / stride) features]."""
        x = Conv(
            self.features,
            self.kernel,
            self.stride,
            self.dilation,
            bias=self.norm == "none",
            dtype=self.dtype,
            name="conv",
        )(x)
        return nn.relu(Norm(self.norm, self.dtype, name="norm")(x, train))


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Maximum over 2x2 windows, stride 2.

    Raises:
      ValueError: height or width is odd, so that pixels would be left over.
    """
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise ValueError(f"a map of {x.shape[1]}x{x.shape[2]} has no whole 2x2 windows; pad it to even sides.")
    if not on_cpu():
        return nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))
    rows = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])


def max_pool_3x3(x: jax.Array) -> jax.Array:
    """Maximum over 3x3 windows, stride 2, padding 1: ResNet's; [b h w c] -> [b ceil(h / 2) ceil(w / 2) c]."""
    if not on_cpu():
        return nn.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    for axis in (1, 2):  # a maximum over a square is one over rows of one over columns
        size = x.shape[axis]
        low = jnp.finfo(x.dtype).min
        pads = [(1, 1) if a == axis else (0, 0) for a in range(4)]
        padded = jnp.pad(x, pads, constant_values=low)
        taps = [jax.lax.slice_in_dim(padded, i, i + size, 2, axis) for i in range(3)]
        x = jnp.maximum(jnp.maximum(taps[0], taps[1]), taps[2])
    return x


def upsample_nearest(x: jax.Array, factor: int) -> jax.Array:
    """[b h w c] -> [b fh fw c], every pixel repeated."""
    b, h, w, c = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None], (b, h, factor, w, factor, c))
    return wide.reshape(b, h * factor, w * factor, c)


def upsample_bilinear(x: jax.Array, factor: int) -> jax.Array:
    """[b h w c] -> [b fh fw c], bilinear with pixel centres at halves (as jax.image.resize, align_corners=False).

    Output pixel f * i + j lies between source pixels i - 1, i, i + 1 with weights that depend on j alone, so each
    axis is f weighted sums of shifted copies.
    """
    if factor == 1:
        return x
    for axis in (1, 2):
        size = x.shape[axis]
        edges = [(1, 1) if a == axis else (0, 0) for a in range(4)]
        padded = jnp.pad(x, edges, mode="edge")
        before, here, after = (jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3))
        phases = []
        for j in range(factor):
            t = (j + 0.5) / factor - 0.5
            phases.append(here + (before - here) * -t if t < 0 else here + (after - here) * t)
        shape = list(x.shape)
        shape[axis] *= factor
        x = jnp.stack(phases, axis=axis + 1).reshape(shape)
    return x
