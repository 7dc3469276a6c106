"""All losses: agreement with segmentation_models.pytorch, what holds for each of them, and their weighted sum."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from seg_jax import losses
from seg_jax.losses import LOSSES, boundary, heads, lovasz, pixel, region
from seg_jax.runtime import sharding
from tests.losses import references

IGNORE = 255
SMP = json.loads(references.FIXTURE.read_text(encoding="utf-8"))


def mean(values_and_weights):
    return float(losses.mean(*losses.reduce(*values_and_weights)))


# ----- segmentation_models.pytorch

# Name in the fixture -> the same loss of ours.
SAME = {
    "dice": region.dice,
    "jaccard": region.jaccard,
    "tversky": region.tversky,
    "lovasz": lovasz.lovasz,
    "focal": lambda *args: pixel.focal(*args, head="sigmoid"),  # theirs is one against the rest
    "weighted_dice": lambda *args: region.dice(*args, class_weights=(1.0, 2.0, 3.0, 4.0)),
    "focal_tversky": lambda *args: region.tversky(*args, gamma=4 / 3),
}
# Theirs divide by the number of all classes, or by the sum of all weights.
SHARE_OF_PRESENT = {"dice": 3 / 4, "jaccard": 3 / 4, "tversky": 3 / 4, "weighted_dice": 7 / 10}


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in SAME for case in SMP[name]])
def test_agrees_with_smp(name, case):
    share = SHARE_OF_PRESENT.get(name, 1) if case == "absent" else 1
    assert share * mean(SAME[name](*references.batch(case))) == pytest.approx(SMP[name][case], abs=1e-5)


@pytest.mark.parametrize("case", ["present", "ignored"])
def test_cross_entropy_agrees_with_smp(case):
    total, weight = losses.reduce(*pixel.cross_entropy(*references.batch(case), label_smoothing=0.1))
    assert float(total / weight) == pytest.approx(SMP["cross_entropy"][case] / float(weight), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "loss", "options"),
    [
        ("dice", region.dice, {}),
        ("jaccard", region.jaccard, {}),
        ("tversky", region.tversky, {"gamma": 4 / 3}),
        ("focal", pixel.focal, {}),
        ("cross_entropy", pixel.cross_entropy, {}),
    ],
)
def test_two_classes_agree_with_smp(name, loss, options):
    logits, label = references.batch("binary")
    logits = np.stack([0 * logits[..., 0], logits[..., 0]], -1)
    assert mean(loss(logits, label, head="binary", **options)) == pytest.approx(SMP["binary"][name], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "loss", "options"),
    [
        ("dice", region.dice, {}),
        ("jaccard", region.jaccard, {}),
        ("tversky", region.tversky, {}),
        ("focal", pixel.focal, {}),
        ("cross_entropy", pixel.cross_entropy, {"label_smoothing": 0.1}),
    ],
)
def test_overlapping_classes_agree_with_smp(name, loss, options):
    logits, _ = references.batch("present")
    found = mean(loss(logits, references.memberships(), head="sigmoid", **options))
    assert found == pytest.approx(SMP["multilabel"][name], abs=1e-5)


# ----- what holds for every loss with every head


def config_of(head):
    loss = default.get_config().loss
    loss.head = head
    return loss


def costs(head, logits, label, taught):
    built = {name: make(config_of(head)) for name, make in LOSSES.items()}
    return {name: losses.mean(*losses.reduce(*loss(logits, label, taught))) for name, loss in built.items()}


@cache
def compiled(head):
    """(logits, label, taught) -> {loss: (mean, gradient of the logits)}; one program for all of the tests."""

    def all_of_them(logits, label, taught):
        return {
            name: jax.value_and_grad(lambda x, name=name: costs(head, x, label, taught)[name])(logits)
            for name in LOSSES
        }

    return jax.jit(all_of_them)


def batch(head, seed=0, ignored=0.3):
    """(logits [8 6 5 k], label, logits of a teacher)."""
    rng = np.random.default_rng(seed)
    k = 2 if head == "binary" else 4
    label = rng.integers(k, size=(8, 6, 5)).astype(np.uint8)
    label[rng.random(label.shape) < ignored] = IGNORE
    logits, taught = (2 * rng.standard_normal((*label.shape, k), np.float32) for _ in range(2))
    return logits, label, taught


@pytest.fixture(params=losses.HEADS, scope="module")
def head(request):
    return request.param


@pytest.fixture(params=LOSSES)
def name(request):
    return request.param


@cache
def usual(head):
    return jax.device_get(compiled(head)(*batch(head)))


def test_costs_something(head, name):
    value, gradient = usual(head)[name]
    assert value > 0.01 and np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-4


@pytest.mark.parametrize(
    "name", [name for name in LOSSES if name != "ohem"]
)  # which jumps where other pixels become hard
def test_the_gradient_is_that_of_the_value(head, name):
    logits, label, taught = batch(head)
    direction = np.random.default_rng(1).standard_normal(logits.shape, np.float32)
    step = np.float32(2e-3)
    ends = [float(compiled(head)(logits + s * step * direction, label, taught)[name][0]) for s in (-1, 1)]
    slope = float((usual(head)[name][1] * direction).sum())
    assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(slope, rel=0.05, abs=2e-3)


def test_nothing_to_learn_is_zero_with_zero_gradient(head, name):
    logits, label, taught = batch(head)
    value, gradient = compiled(head)(logits, np.full_like(label, IGNORE), taught)[name]
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(logits))


def test_a_perfect_prediction_costs_nothing(head, name):
    _, label, _ = batch(head)
    k = 2 if head == "binary" else 4
    perfect = np.where(label[..., None] == np.arange(k), 30.0, -30.0).astype(np.float32)
    assert float(compiled(head)(perfect, label, perfect)[name][0]) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("nonsense", [1e4, np.inf, np.nan])
def test_what_is_said_of_ignored_pixels_changes_nothing(head, name, nonsense):
    logits, label, taught = batch(head)
    value, gradient = usual(head)[name]
    ignored = label == IGNORE
    wild, taught = (np.where(ignored[..., None], np.float32(nonsense), x) for x in (logits, taught))
    again, wild_gradient = compiled(head)(wild, label, taught)[name]
    assert float(again) == float(value)
    np.testing.assert_array_equal(wild_gradient, gradient)
    np.testing.assert_array_equal(gradient[ignored], 0)


def test_the_order_of_the_images_changes_nothing(head, name):
    order = np.random.default_rng(2).permutation(8)
    value, gradient = compiled(head)(*(x[order] for x in batch(head)))[name]
    assert float(value) == pytest.approx(float(usual(head)[name][0]), rel=1e-5)
    np.testing.assert_allclose(gradient, usual(head)[name][1][order], rtol=1e-4, atol=1e-6)


def test_extreme_logits_stay_finite(head, name):
    logits, label, taught = batch(head)
    value, gradient = compiled(head)(1e4 * np.sign(logits), label, 1e4 * np.sign(taught))[name]
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_devices_change_nothing(head, name):
    if jax.device_count() < 8:
        pytest.skip(f"needs 8 devices, there are {jax.device_count()}")
    spread = sharding.place(dict(enumerate(batch(head))), sharding.make_mesh(8))
    value, gradient = compiled(head)(*spread.values())[name]
    assert float(value) == pytest.approx(float(usual(head)[name][0]), rel=1e-5)
    np.testing.assert_allclose(gradient, usual(head)[name][1], rtol=1e-4, atol=1e-6)


def test_low_precision_is_computed_on_in_float32(head):
    logits, label, taught = batch(head)
    low = jnp.asarray(logits, jnp.bfloat16)
    one, two = (jax.jit(costs, static_argnums=0)(head, x, label, taught) for x in (low, low.astype(jnp.float32)))
    for name in LOSSES:
        assert one[name].dtype == jnp.float32
        assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-6), name


def test_a_class_that_never_occurs_changes_nothing():
    # Nobody predicts it, nobody is of it: neither scale nor value depends on whether the table lists it.
    logits, label, taught = batch("softmax")
    logits, taught = (np.concatenate([x, np.full((*label.shape, 1), -1e3, np.float32)], -1) for x in (logits, taught))
    more = jax.jit(costs, static_argnums=0)("softmax", logits, label, taught)
    for name in LOSSES:
        assert float(more[name]) == pytest.approx(float(usual("softmax")[name][0]), rel=1e-5), name


def test_probabilities():
    logits = np.log(np.array([[1.0, 3.0]], np.float32))
    np.testing.assert_allclose(heads.probabilities(logits, head="softmax"), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(heads.probabilities(logits, head="binary"), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(heads.probabilities(logits, head="sigmoid"), [[0.5, 0.75]], rtol=1e-6)


# ----- the weighted sum


def test_every_loss_has_a_weight():
    weights = dict(default.get_config().loss.weights.items())
    assert set(weights) == set(LOSSES)
    assert {name: weight for name, weight in weights.items() if weight} == {"cross_entropy": 1.0}


def test_an_objective_adds_up_over_batches():
    loss = config_of("softmax")
    loss.weights.update({"cross_entropy": 0.5, "jaccard": 2.0})
    objective = losses.build(loss)
    assert dict(objective.weights) == {"cross_entropy": 0.5, "jaccard": 2.0}
    parts = [batch("softmax", seed=seed)[:2] for seed in (0, 1)]
    totals, weights = (sum(part) for part in zip(*(objective(*part) for part in parts), strict=True))
    value, means = objective.value(totals, weights)
    whole = [np.concatenate(part) for part in zip(*parts, strict=True)]
    expected = mean(pixel.cross_entropy(*whole))
    assert float(means["cross_entropy"]) == pytest.approx(expected, rel=1e-5)  # the mean over all pixels
    of_batches = np.mean([mean(region.jaccard(*part)) for part in parts])
    assert float(means["jaccard"]) == pytest.approx(of_batches, rel=1e-5)  # the mean over the batches
    assert float(value) == pytest.approx(0.5 * expected + 2 * of_batches, rel=1e-5)


def test_sums_of_nothing_are_zero():
    objective = losses.build(config_of("softmax"))
    value, means = objective.value(np.zeros(1), np.zeros(1))
    assert float(value) == float(means["cross_entropy"]) == 0


WEIGHTS = {"class_weights": (1.0, 2.0, 3.0, 4.0)}
OPTIONS = {
    "cross_entropy": (pixel.cross_entropy, {**WEIGHTS, "label_smoothing": 0.2}),
    "focal": (pixel.focal, {**WEIGHTS, "alpha": 0.6, "gamma": 3.0}),
    "ohem": (pixel.ohem, {**WEIGHTS, "share": 0.9, "threshold": 0.2}),
    "dice": (region.dice, WEIGHTS),
    "jaccard": (region.jaccard, WEIGHTS),
    "tversky": (region.tversky, {**WEIGHTS, "alpha": 0.6, "beta": 0.9, "gamma": 2.0}),
    "lovasz": (lovasz.lovasz, WEIGHTS),
    "boundary": (boundary.boundary, WEIGHTS),
    "distillation": (pixel.distillation, {"temperature": 3.0}),
}


CASES = [(name, option) for name, (_, options) in OPTIONS.items() for option in (None, "head", *options)]


@pytest.mark.parametrize(("name", "option"), CASES)
def test_every_option_arrives(name, option):
    function, options = OPTIONS[name]
    given = {} if option is None else {option: {**options, "head": "sigmoid"}[option]}
    loss = config_of("softmax")
    inner = getattr(loss, name, loss)
    group = inner if option and hasattr(inner, option) else loss
    group.update(given)
    logits, label, taught = batch("softmax")
    expected = function(*((logits, taught, label) if name == "distillation" else (logits, label)), **given)
    for one, two in zip(LOSSES[name](loss)(logits, label, taught), expected, strict=True):
        np.testing.assert_array_equal(one, two)
    if option:
        assert abs(mean(expected) - float(usual("softmax")[name][0])) > 1e-4  # or it would be no option
