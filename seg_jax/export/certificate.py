"""The parity certificate: an artefact compared on real images with the run it was made from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.data.images import DataError, read_image, resize
from seg_jax.data.labels import LabelError, LabelTable
from seg_jax.data.sampler import spread
from seg_jax.export.network import Network
from seg_jax.metrics import Report
from seg_jax.metrics.counts import confusion_of
from seg_jax.predict.artefacts import Artefact, rebuilt
from seg_jax.run.directory import RunDirectory

MAX_IMAGES = 8
SEED, PATCH, DRAWN_SIZE = 0, 8, (256, 256)  # of drawn images: pixels of a patch's side; (height, width) without another
PACKAGES = ("jax", "numpy", "onnx", "onnxruntime", "tensorflow", "tensorflow-cpu", "ai-edge-litert", "safetensors")


@dataclass(frozen=True)
class Tolerance:
    """Allowed deviation of an artefact from its run.

    Attributes:
      difference: largest difference of a probability, 0..1.
      agreement: smallest share of pixels with the same class, 0..1.
      loss: largest loss of mIoU.
    """

    difference: float
    agreement: float
    loss: float


# EXACT: float32 in another order of operations. RESIZED: photographs that another program than Pillow resized may
# differ by one grey level here and there, which shows at class borders. HALF: kernels have 11 bits instead of 24.
# INT8 is judged by the remaining score.
EXACT = Tolerance(difference=1e-3, agreement=0.9999, loss=1e-3)
RESIZED = Tolerance(difference=0.1, agreement=0.995, loss=5e-3)
HALF = Tolerance(difference=0.1, agreement=0.995, loss=2e-3)
INT8 = Tolerance(difference=1.0, agreement=0.95, loss=0.02)


@dataclass(frozen=True)
class Samples:
    """The images of a comparison.

    Attributes:
      pairs: photographs [h w c] in 0..255, each with its class ids [h w], or None where the truth is unknown.
      source: description of their origin.
    """

    pairs: Sequence[tuple[np.ndarray, np.ndarray | None]]
    source: str


def find_samples(network: Network, run: Path, *, resized: bool = False) -> Samples:
    """Images spread evenly over the run's validation split; if the data is unavailable, its sample.png.

    That is RGB. A network of other photographs is compared on images that are drawn.

    Args:
      network: the network; the split must have its classes.
      run: the run directory.
      resized: whether to resize to the network's size, for formats that accept no other.

    Raises:
      ConfigError: there is neither.
    """
    config = network.functions.config
    split = config.data.val_split
    try:
        examples = data.load(config, split)
        if examples.table.names == network.table.names:
            pairs = [examples.read(index) for index in spread(len(examples), MAX_IMAGES)]
            if resized:
                pairs = [resize(*pair, tuple(network.metadata["size"])) for pair in pairs]
            return Samples(
                pairs, f"{len(pairs)} of {len(examples)} images of the split {split!r} ({config.data.source})"
            )
        reason = "it has other classes"
    except (ConfigError, DataError, LabelError, ImportError, OSError) as error:
        reason = str(error)
    if not network.depth.is_rgb:
        images = drawn(network, resized=resized)
        source = f"{len(images)} images of random patches, drawn with the seed {SEED}; the split {split!r}: {reason}"
        return Samples([(image, None) for image in images], source)
    sample = RunDirectory(run).sample_file
    if not sample.is_file():
        raise ConfigError(
            f"there is no image to compare the artefact with: {run} has no {sample.name}, and the split {split!r} "
            f"cannot be used: {reason} Put any photograph there under that name."
        )
    image = read_image(sample)
    if resized:
        image, _ = resize(image, image[..., 0], tuple(network.metadata["size"]))
    return Samples([(image, None)], f"{sample.name} of the run; the split {split!r}: {reason}")


def drawn(network: Network, *, resized: bool) -> np.ndarray:
    """Images [MAX_IMAGES h w c] in 0..255 of patches of one random value in each band, the same at every call.

    Args:
      network: the network; they have the size of its evaluation, or `DRAWN_SIZE` if there is none.
      resized: whether they have the size that it is written for.
    """
    height, width = network.metadata["size" if resized else "trained_size"] or DRAWN_SIZE
    shape = (MAX_IMAGES, -(-height // PATCH), -(-width // PATCH), network.depth.channels)
    patches = np.random.default_rng(SEED).uniform(0, 255, shape).astype(network.depth.dtype)
    return patches.repeat(PATCH, axis=1).repeat(PATCH, axis=2)[:, :height, :width]


def compare(network: Network, artefact: Artefact, samples: Samples, tolerance: Tolerance) -> dict[str, Any]:
    """Compares an artefact with its run.

    Returns:
      JSON values: 'passed', and the figures that decide it. The caller adds name and digest of the file.
    """
    run = rebuilt(network.functions, network.weights, {**network.metadata, "output": "probabilities"})
    difference, agree, pixels = 0.0, 0, 0
    counts = np.zeros((2, len(network.table), len(network.table)), np.int64)
    for image, truth in samples.pairs:
        expected, actual = run(image[None])[0], artefact(image[None])[0]
        labels = [expected.argmax(-1), actual if artefact.output == "label" else actual.argmax(-1)]
        if artefact.output == "probabilities":
            # NaN becomes infinite: every comparison with NaN is false, so it would pass.
            difference = max(difference, float(np.nan_to_num(abs(actual - expected), nan=math.inf).max()))
        agree, pixels = agree + int((labels[0] == labels[1]).sum()), pixels + labels[0].size
        if truth is not None:
            for count, label in zip(counts, labels, strict=True):
                count += confusion_of(label, truth, len(network.table))
    known = bool(counts.any())
    miou = [_miou(count, network.table) for count in counts] if known else [None, None]
    loss = miou[0] - miou[1] if known else 0.0  # type: ignore[operator]
    agreement = agree / pixels
    passed = difference <= tolerance.difference and agreement >= tolerance.agreement and bool(loss <= tolerance.loss)
    return {
        "passed": passed,
        "images": samples.source,
        "largest_difference": difference if artefact.output == "probabilities" else None,
        "agreement": agreement,
        "miou": {"run": miou[0], "artefact": miou[1]},
        "tolerance": asdict(tolerance),
    }


def _miou(confusion: np.ndarray, table: LabelTable) -> float:
    return Report.from_confusion(confusion, table.names, loss=math.nan, protocol={}).scores["miou"]


def versions() -> dict[str, str]:
    """{package: version} of the libraries involved, where installed."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = packages.version(name)
        except packages.PackageNotFoundError:
            continue
    return installed


def seconds(apply: Callable[[np.ndarray], Any], image: np.ndarray, *, calls: int = 10) -> float:
    """Seconds of the fastest of several calls, after a first one that may compile."""
    apply(image[None])
    times = []
    for _ in range(calls):
        begin = time.perf_counter()
        apply(image[None])
        times.append(time.perf_counter() - begin)
    return min(times)
