"""The functions around the network on an accelerator and on the CPU: augmentation, losses, counts, distances."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.record import OK, WRONG
from seg_jax import augment, losses, metrics
from seg_jax.config import default
from seg_jax.losses import boundary

CLASSES, BATCH, SIZE = 5, 4, (80, 96)

# Everything that augmentation has, at once.
AUGMENT = {
    "crop": (64, 64),
    "vertical_flip": 0.5,
    "scale": (0.5, 2.0),
    "rotate": 20.0,
    "shear": 10.0,
    "translate": 0.1,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "grayscale": 0.2,
    "blur": 0.5,
    "noise": 10.0,
    "randaugment": (2, 9),
    "cutmix": 0.5,
    "classmix": 0.5,
}


def on_both(function: Callable[..., Any], *arrays: Any) -> tuple[Any, Any]:
    """(results of the first device, results of the CPU), host arrays; compiled for each."""
    results = []
    for device in (jax.devices()[0], jax.devices("cpu")[0]):
        placed = jax.device_put(arrays, device)
        results.append(jax.device_get(jax.jit(function)(*placed)))
    return results[0], results[1]


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Photographs uint8 [b h w 3] and masks uint8 [b h w] with regions, a part of them ignored."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (BATCH, *SIZE, 3), np.uint8)
    coarse = rng.integers(0, CLASSES, (BATCH, SIZE[0] // 8, SIZE[1] // 8)).astype(np.uint8)
    label = coarse.repeat(8, 1).repeat(8, 2)
    label[:, :4] = 255
    return image, label


def verdict(errors: dict[str, float], tolerance: dict[str, float]) -> dict[str, Any]:
    """The figures of a case; NaN is never fine."""
    wrong = {name: value for name, value in errors.items() if not value <= tolerance[name]}
    said = ", ".join(f"{name} is {value:.3g}, of {tolerance[name]:g}" for name, value in wrong.items())
    found = {"status": WRONG if wrong else OK, "errors": errors, "tolerance": tolerance}
    return found | ({"error": said} if wrong else {})


def check_augmentation() -> dict[str, Any]:
    """All of it on one batch. A pixel at the border of two classes or of two grey levels may fall on the other side."""
    config = default.get_config().augment
    config.update_from_flattened_dict(AUGMENT)
    function = augment.build(config, mean=(0.5, 0.5, 0.5), groups=BATCH, finish=lambda image: image)
    image, label = scene()
    found, wanted = on_both(lambda image, label: function(jax.random.key(0), image, label), image, label)
    differences = np.abs(found[0] - wanted[0])
    errors = {
        "share of labels that differ": float((found[1] != wanted[1]).mean()),
        "share of values that differ by a level": float((differences > 1).mean()),
        "median difference": float(np.median(differences)),
    }
    return verdict(errors, dict(zip(errors, (2e-3, 2e-2, 1e-2), strict=True)))


def check_loss(name: str) -> dict[str, Any]:
    """Value and gradient of one loss."""
    config = default.get_config().loss
    for other in losses.LOSSES:
        setattr(config.weights, other, float(other == name))
    objective = losses.build(config)
    rng = np.random.default_rng(1)
    logits, taught = rng.normal(size=(2, BATCH, *SIZE, CLASSES)).astype(np.float32)
    _, label = scene()

    def value(logits: jax.Array, label: jax.Array, taught: jax.Array) -> jax.Array:
        return objective.value(*objective(logits, label, taught))[0]

    found, wanted = on_both(jax.value_and_grad(value), logits, label, taught)
    gradient = np.linalg.norm(found[1] - wanted[1]) / np.linalg.norm(wanted[1])
    errors = {"value": float(abs(found[0] / wanted[0] - 1)), "gradient": float(gradient)}
    return verdict(errors, {"value": 1e-5, "gradient": 1e-4})


def check_confusion() -> dict[str, Any]:
    """Integers: exactly the same as NumPy counts them."""
    _, label = scene()
    prediction = np.random.default_rng(2).integers(0, CLASSES, label.shape).astype(np.int32)
    found, _ = on_both(partial(metrics.confusion_matrices, classes=CLASSES), prediction, label)
    wanted = np.zeros((BATCH, CLASSES, CLASSES), np.int64)
    for i in range(BATCH):
        valid = label[i] != 255
        np.add.at(wanted[i], (label[i][valid], prediction[i][valid]), 1)
    return verdict({"counts that differ": float((found != wanted).sum())}, {"counts that differ": 0.0})


def check_distances() -> dict[str, Any]:
    """The signed distance to the boundary of every class, in pixels."""
    _, label = scene()

    def distances(label: jax.Array) -> jax.Array:
        region = label[..., None] == jnp.arange(CLASSES)
        return boundary.signed_distance(region, (label != 255)[..., None])[0]

    found, wanted = on_both(distances, label)
    return verdict({"pixels": float(np.abs(found - wanted).max())}, {"pixels": 1e-4})


def checks(*, tiny: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    """{name: what gives the figures of its case}."""
    names = ["cross_entropy"] if tiny else list(losses.LOSSES)
    return {
        "confusion matrix": check_confusion,
        "distance maps": check_distances,
        **{f"loss {name}": partial(check_loss, name) for name in names},
        **({} if tiny else {"augmentation": check_augmentation}),
    }
