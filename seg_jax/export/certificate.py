"""The parity certificate: an artefact compared with the run that it was made of, on real images."""

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
from seg_jax.export.network import Network
from seg_jax.metrics import Report
from seg_jax.metrics.counts import confusion_of
from seg_jax.predict.artefacts import Artefact, rebuilt
from seg_jax.run.directory import RunDirectory

IMAGES = 8
PACKAGES = ("jax", "numpy", "onnx", "onnxruntime", "tensorflow", "tensorflow-cpu", "ai-edge-litert", "safetensors")


@dataclass(frozen=True)
class Tolerance:
    """How far an artefact may be from its run.

    Attributes:
      difference: the largest one of a probability.
      agreement: the least share of pixels of the same class.
      loss: the largest loss of mIoU.
    """

    difference: float
    agreement: float
    loss: float


# float32 in another order. A photograph that was resized by other programs than Pillow may differ by one grey level
# here and there, which shows at the borders of classes. 8 bits are judged by what is left of the score.
EXACT = Tolerance(difference=1e-3, agreement=0.9999, loss=1e-3)
RESIZED = Tolerance(difference=0.1, agreement=0.995, loss=5e-3)
INT8 = Tolerance(difference=1.0, agreement=0.95, loss=0.02)


@dataclass(frozen=True)
class Images:
    """What is compared.

    Attributes:
      pairs: photographs uint8 [h w 3], each with its class ids uint8 [h w], or None where the truth is not known.
      source: where they are from, in words.
    """

    pairs: Sequence[tuple[np.ndarray, np.ndarray | None]]
    source: str


def find_images(network: Network, run: Path, *, resized: bool = False) -> Images:
    """Images spread over the run's validation split, or its sample.png if the data is not there.

    Args:
      network: whose classes those of the split must be.
      run: its directory.
      resized: they are brought to the network's size, for formats that take no other.

    Raises:
      ConfigError: there is neither.
    """
    config = network.functions.config
    split = config.data.val_split
    try:
        examples = data.load(config, split)
        if examples.table.names == network.table.names:
            chosen = np.unique(np.linspace(0, len(examples) - 1, min(IMAGES, len(examples))).round().astype(int))
            pairs = [examples.read(int(index)) for index in chosen]
            if resized:
                pairs = [resize(*pair, tuple(network.metadata["size"])) for pair in pairs]
            return Images(
                pairs, f"{len(pairs)} of {len(examples)} images of the split {split!r} ({config.data.source})"
            )
        reason = "its classes are others"
    except (ConfigError, DataError, LabelError, ImportError, OSError) as error:
        reason = str(error)
    sample = RunDirectory(run).sample_file
    if not sample.is_file():
        raise ConfigError(
            f"there is no image to compare the artefact with: {run} has no {sample.name}, and the split {split!r} "
            f"cannot be used: {reason} Put any photograph there under that name."
        )
    image = read_image(sample)
    if resized:
        image, _ = resize(image, image[..., 0], tuple(network.metadata["size"]))
    return Images([(image, None)], f"{sample.name} of the run; the split {split!r}: {reason}")


def compare(network: Network, artefact: Artefact, images: Images, tolerance: Tolerance) -> dict[str, Any]:
    """The certificate, without what says which file it is of.

    Returns:
      JSON values: 'passed', and what that follows from.
    """
    run = rebuilt(network.functions, network.weights, {**network.metadata, "output": "probabilities"})
    difference, agree, pixels = 0.0, 0, 0
    counts = np.zeros((2, len(network.table), len(network.table)), np.int64)
    for image, truth in images.pairs:
        wanted, found = run(image[None])[0], artefact(image[None])[0]
        labels = [wanted.argmax(-1), found if artefact.output == "label" else found.argmax(-1)]
        if artefact.output == "probabilities":
            # Against a result that is not finite every comparison is false, and would pass.
            difference = max(difference, float(np.nan_to_num(abs(found - wanted), nan=math.inf).max()))
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
        "images": images.source,
        "largest_difference": difference if artefact.output == "probabilities" else None,
        "agreement": agreement,
        "miou": {"run": miou[0], "artefact": miou[1]},
        "tolerance": asdict(tolerance),
    }


def _miou(confusion: np.ndarray, table: LabelTable) -> float:
    return Report.from_confusion(confusion, table.names, loss=math.nan, protocol={}).scores["miou"]


def versions() -> dict[str, str]:
    """Of the libraries that took part, as far as they are installed."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = packages.version(name)
        except packages.PackageNotFoundError:
            continue
    return installed


def seconds(apply: Callable[[np.ndarray], Any], image: np.ndarray, *, calls: int = 10) -> float:
    """The shortest of several calls after a first one, which may compile."""
    apply(image[None])
    times = []
    for _ in range(calls):
        begin = time.perf_counter()
        apply(image[None])
        times.append(time.perf_counter() - begin)
    return min(times)
