"""Losses of pixels against closed forms, and what ignored pixels must not do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_jax import losses
from seg_jax.losses import pixel

IGNORE = 255


def mean_loss(logits, label, **options):
    return losses.mean(*losses.reduce(*pixel.cross_entropy(jnp.asarray(logits), jnp.asarray(label), **options)))


value_and_gradient = jax.value_and_grad(mean_loss)


def random_batch(k=4, shape=(2, 3, 5), seed=0, ignored=0.3):
    rng = np.random.default_rng(seed)
    label = rng.integers(k, size=shape).astype(np.uint8)
    label[rng.random(shape) < ignored] = IGNORE
    return 3 * rng.standard_normal((*shape, k), np.float32), label


@pytest.mark.parametrize("k", [2, 11, 200])
def test_uniform_logits_cost_log_k(k):
    values, weights = pixel.cross_entropy(jnp.full((1, 2, 2, k), 7.0), jnp.array([[[0, 1], [k - 1, 0]]]))
    np.testing.assert_allclose(values, np.full((1, 2, 2), np.log(k)), rtol=1e-6)
    np.testing.assert_array_equal(weights, np.ones((1, 2, 2)))


def test_one_pixel_by_hand():
    # softmax of (log 1, log 2, log 5) is (1, 2, 5) / 8; the gradient of the logits is softmax - onehot.
    logits = jnp.log(jnp.array([1.0, 2.0, 5.0])).reshape(1, 1, 1, 3)
    value, gradient = value_and_gradient(logits, jnp.array([[[1]]], jnp.uint8))
    assert float(value) == pytest.approx(np.log(4))
    np.testing.assert_allclose(gradient.ravel(), [1 / 8, 2 / 8 - 1, 5 / 8], rtol=1e-6)


def test_smoothing_by_hand():
    # Target for e = 0.3: (0.1, 0.8, 0.1); minus the logs of (1, 2, 5) / 8.
    logits = jnp.log(jnp.array([1.0, 2.0, 5.0])).reshape(1, 1, 1, 3)
    expected = 0.1 * np.log(8) + 0.8 * np.log(4) + 0.1 * np.log(8 / 5)
    assert float(mean_loss(logits, np.array([[[1]]]), label_smoothing=0.3)) == pytest.approx(expected)


def test_class_weights_by_hand():
    # Two pixels of class 0 that cost log 2 and log 4, weight 1; one of class 1 that costs log 4 / 3, weight 3.
    logits = np.log(np.array([[1.0, 1.0], [1.0, 3.0], [1.0, 3.0]], np.float32)).reshape(1, 1, 3, 2)
    label = np.array([[[0, 0, 1]]])
    expected = (np.log(2) + np.log(4) + 3 * np.log(4 / 3)) / 5
    assert float(mean_loss(logits, label, class_weights=(1.0, 3.0))) == pytest.approx(expected)
    # Only the ratio of weights matters for the mean; a class of weight 0 is left out.
    assert float(mean_loss(logits, label, class_weights=(2.0, 6.0))) == pytest.approx(expected)
    assert float(mean_loss(logits, label, class_weights=(1.0, 0.0))) == pytest.approx(np.log(8) / 2)


def test_is_optax_cross_entropy():
    logits, label = random_batch(ignored=0)
    values, _ = pixel.cross_entropy(logits, label)
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, label.astype(np.int32))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.01, 0.1, 0.9])
def test_smoothing_is_a_soft_target(smoothing):
    logits, label = random_batch(ignored=0)
    values, _ = pixel.cross_entropy(logits, label, label_smoothing=smoothing)
    expected = optax.softmax_cross_entropy(logits, optax.smooth_labels(jax.nn.one_hot(label, 4), smoothing))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)


OPTIONS = [{}, {"label_smoothing": 0.2}, {"class_weights": (0.5, 1.0, 2.0, 4.0)}]
OPTIONS.append({**OPTIONS[1], **OPTIONS[2]})


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_ignored_pixels_change_neither_loss_nor_gradient(options):
    logits, label = random_batch()
    kept = label != IGNORE
    assert 0 < kept.sum() < kept.size
    value, gradient = value_and_gradient(logits, label, **options)
    # What remains, alone in a batch of its own.
    expected, remaining = value_and_gradient(logits[kept][None, None], label[kept][None, None], **options)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    np.testing.assert_allclose(gradient[kept], remaining[0, 0], rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(gradient[~kept], 0)
    # Whatever the network says there, even if it says infinity.
    for nonsense in (1e4, np.inf, -np.inf):
        wild = np.where(kept[..., None], logits, np.array([nonsense, 0, 0, -nonsense], np.float32))
        again, wild_gradient = value_and_gradient(wild, label, **options)
        assert float(again) == float(value)
        np.testing.assert_array_equal(wild_gradient, gradient)


@pytest.mark.parametrize("value", [4, 5, 200, 254, -1, -100])
def test_every_value_that_is_no_class_is_ignored(value):
    logits, label = random_batch()
    other = np.where(label == IGNORE, value, label.astype(np.int32))
    for one, two in zip(pixel.cross_entropy(logits, label), pixel.cross_entropy(logits, other), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_all_ignored_is_zero_with_zero_gradient(options):
    logits, label = random_batch()
    value, gradient = value_and_gradient(logits, np.full_like(label, IGNORE), **options)
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(logits))


def test_mean_of_nothing_is_zero_with_zero_gradient():
    assert [float(x) for x in (losses.mean(0.0, 0.0), *jax.grad(losses.mean, (0, 1))(0.0, 0.0))] == [0, 0, 0]


def test_sums_of_parts_give_the_mean_of_the_whole():
    # What an evaluation does over batches.
    logits, label = random_batch(shape=(6, 3, 5))
    options = {"class_weights": (0.5, 1.0, 2.0, 4.0)}
    parts = [losses.reduce(*pixel.cross_entropy(logits[i : i + 2], label[i : i + 2], **options)) for i in (0, 2, 4)]
    total, weight = (sum(part) for part in zip(*parts, strict=True))
    assert float(total / weight) == pytest.approx(float(mean_loss(logits, label, **options)), rel=1e-5)


def test_low_precision_logits_are_computed_on_in_float32():
    logits, label = random_batch()
    low = jnp.asarray(logits, jnp.bfloat16)
    for a, b in zip(pixel.cross_entropy(low, label), pixel.cross_entropy(low.astype(jnp.float32), label), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_array_equal(a, b)


@settings(max_examples=25)
@given(st.integers(0, 2**20), st.floats(-100, 100))
def test_adding_a_constant_to_all_logits_changes_nothing(seed, constant):
    logits, label = random_batch(seed=seed)
    assert float(mean_loss(logits + np.float32(constant), label)) == pytest.approx(
        float(mean_loss(logits, label)), rel=1e-4, abs=1e-5
    )


def test_focal_by_hand():
    # Two classes, logits (log 3, 0): p = 3/4 for class 0, 1/4 for class 1; -0.25 (1 - p)^2 log p.
    logits = np.log(np.array([[[[3.0, 1.0], [3.0, 1.0], [3.0, 1.0]]]], np.float32))
    label = np.array([[[0, 1, IGNORE]]], np.uint8)
    values, weights = pixel.focal(logits, label, class_weights=(1.0, 5.0))
    expected = [0.25 * 0.25**2 * np.log(4 / 3), 0.25 * 0.75**2 * np.log(4), 0.0]
    np.testing.assert_allclose(values[0, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(weights[0, 0], [1.0, 5.0, 0.0])


def test_focal_without_focus_is_cross_entropy():
    logits, label = random_batch()
    values, weights = pixel.focal(logits, label, alpha=1.0, gamma=0.0)
    expected, same = pixel.cross_entropy(logits, label)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(weights, same)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_gradient_is_finite_where_the_network_is_sure(gamma):
    logits = np.array([[[[200.0, 0.0], [0.0, 200.0], [np.inf, 0.0]]]], np.float32)
    label = np.array([[[0, 0, IGNORE]]], np.uint8)
    gradient = jax.grad(lambda x: losses.mean(*losses.reduce(*pixel.focal(x, label, gamma=gamma))))(logits)
    assert np.isfinite(gradient).all()
    assert gradient[0, 0, 1, 0] < 0 and not np.any(gradient[0, 0, 2])


def sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


def test_each_class_by_itself_by_hand():
    # Logits of log 3 and -log 3 are probabilities of 3/4 and 1/4; the truth is (there, not there).
    x = np.log(3, dtype=np.float32) * np.array([[[[1, -1], [-1, 1], [5, 5]]]], np.float32)
    label = np.array([[[0, 0, IGNORE]]], np.uint8)
    values, weights = pixel.cross_entropy(x, label, head="sigmoid", class_weights=(1.0, 3.0))
    np.testing.assert_allclose(values[0, 0], [[np.log(4 / 3)] * 2, [np.log(4)] * 2, [0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(weights[0, 0], [[1, 3], [1, 3], [0, 0]])
    # Smoothing by e = 0.4: a class that is there has the target 0.8.
    smooth, _ = pixel.cross_entropy(x, label, head="sigmoid", label_smoothing=0.4)
    np.testing.assert_allclose(smooth[0, 0, 0], [0.8 * np.log(4 / 3) + 0.2 * np.log(4)] * 2, rtol=1e-6)


def test_classes_that_overlap():
    # One pixel of both classes, one of none, one with a value that is no membership.
    x = np.array([[[[2.0, -1.0], [2.0, -1.0], [2.0, -1.0]]]], np.float32)
    label = np.array([[[[1, 1], [0, 0], [1, IGNORE]]]], np.uint8)
    values, weights = pixel.cross_entropy(x, label, head="sigmoid")
    p = sigmoid([2, -1])
    np.testing.assert_allclose(values[0, 0], [-np.log(p), -np.log(1 - p), [0, 0]], rtol=1e-5)
    np.testing.assert_array_equal(weights[0, 0], [[1, 1], [1, 1], [0, 0]])


def test_memberships_of_one_class_are_its_id():
    logits, label = random_batch()
    dense = np.where((label == IGNORE)[..., None], np.uint8(IGNORE), (label[..., None] == np.arange(4)))
    for head in ("softmax", "sigmoid"):
        for one, two in zip(
            pixel.cross_entropy(logits, label, head=head),
            pixel.cross_entropy(logits, dense.astype(np.uint8), head=head),
            strict=True,
        ):
            np.testing.assert_array_equal(one, two)


def test_focal_of_two_outcomes_by_hand():
    # p = 3/4 that class 1 is there: alpha (1 - p)^2 log p if it is, (1 - alpha) p^2 log(1 - p) if it is not.
    z = np.log(3, dtype=np.float32)
    there, absent = 0.25 * 0.25**2 * np.log(4 / 3), 0.75 * 0.75**2 * np.log(4)
    label = np.array([[[1, 0]]], np.uint8)
    values, weights = pixel.focal(np.array([[[[0, z], [0, z]]]], np.float32), label, head="binary")
    np.testing.assert_allclose(values[0, 0], [there, absent], rtol=1e-5)
    np.testing.assert_array_equal(weights[0, 0], [1, 1])
    values, _ = pixel.focal(np.full((1, 1, 2, 2), z), label, head="sigmoid")
    np.testing.assert_allclose(values[0, 0], [[absent, there], [there, absent]], rtol=1e-5)


# Probabilities of the truth, two classes: cross-entropies in falling order where they differ.
TRUE = np.array([0.1, 0.3, 0.3, 0.5, 0.6, 0.8, 0.9, 0.95])


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"share": 0.25, "threshold": 0.0}, 3),  # 2 of 8, and one that is as hard as the second
        ({"share": 0.26, "threshold": 0.0}, 3),  # rounded up
        ({"share": 0.5, "threshold": 0.0}, 4),
        ({"share": 1.0, "threshold": 0.0}, 8),
        ({"share": 0.0, "threshold": 0.7}, 5),
        ({"share": 0.0, "threshold": 0.05}, 0),
        ({"share": 0.125, "threshold": 0.4}, 3),  # the threshold asks for more
        ({"share": 0.75, "threshold": 0.4}, 6),  # the share asks for more
    ],
)
def test_hard_pixels_by_hand(options, kept):
    logits = np.zeros((1, 2, 5, 2), np.float32)
    label = np.full((1, 2, 5), IGNORE, np.uint8)
    order = [7, 2, 0, 5, 1, 4, 6, 3]  # any; two ignored pixels are never hard, whatever is said there
    logits.reshape(-1, 2)[1:9, 1] = np.log(TRUE / (1 - TRUE))[order]
    label.reshape(-1)[1:9] = 1
    logits[0, 0, 0] = (50, -50)
    values, weights = pixel.ohem(logits, label, **options)
    np.testing.assert_array_equal(weights.reshape(-1)[1:9], np.isin(order, range(kept)))
    assert not weights[label == IGNORE].any()
    total = -np.log(TRUE[:kept]).sum()
    assert float((values * weights).sum()) == pytest.approx(total, rel=1e-5)


def test_hard_pixels_with_class_weights():
    logits, label = random_batch()
    values, weights = pixel.cross_entropy(logits, label, class_weights=(0.0, 1.0, 2.0, 3.0))
    same, hard = pixel.ohem(logits, label, class_weights=(0.0, 1.0, 2.0, 3.0), share=0.5, threshold=0.0)
    np.testing.assert_array_equal(same, values)
    counted = np.asarray(weights) > 0
    n = -(-counted.sum() // 2)
    assert (np.asarray(hard) > 0).sum() == n  # classes of weight 0 fill no place among the hardest
    np.testing.assert_array_equal(
        np.asarray(hard), np.where(counted & (values >= np.sort(values[counted])[-n]), weights, 0)
    )


def test_only_hard_pixels_learn():
    logits, label = random_batch()
    weights = np.asarray(pixel.ohem(logits, label, share=0.25)[1])

    def cost(x, *, loss):
        return losses.mean((loss(x, label)[0] * weights).sum(), weights.sum())

    gradient = jax.grad(lambda x: losses.mean(*losses.reduce(*pixel.ohem(x, label, share=0.25))))(logits)
    np.testing.assert_allclose(gradient, jax.grad(cost)(logits, loss=pixel.cross_entropy), rtol=1e-5, atol=1e-8)
    assert np.any(gradient[weights > 0]) and not np.any(gradient[weights == 0])


def test_distillation_by_hand():
    # At the temperature 2 the teacher says (9, 1) / 10, the student (1, 1) / 2.
    taught = np.array([[[[2 * np.log(9), 0.0], [7.0, 1.0]]]], np.float32)
    label = np.array([[[0, IGNORE]]], np.uint8)
    values, weights = pixel.distillation(np.zeros((1, 1, 2, 2), np.float32), taught, label, temperature=2.0)
    divergence = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
    np.testing.assert_allclose(values[0, 0], [4 * divergence, 0], rtol=1e-5)
    np.testing.assert_array_equal(weights[0, 0], [1, 0])
    # By itself each class is there with the probability 9/10 and 1/2.
    values, weights = pixel.distillation(
        np.zeros((1, 1, 2, 2), np.float32), taught, label, head="sigmoid", temperature=2.0
    )
    np.testing.assert_allclose(values[0, 0], [[4 * divergence, 0], [0, 0]], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(weights[0, 0], [[1, 1], [0, 0]])


def test_nothing_flows_into_the_teacher():
    logits, label = random_batch()
    taught, _ = random_batch(seed=1)

    def cost(logits, taught):
        return losses.mean(*losses.reduce(*pixel.distillation(logits, taught, label)))

    student, teacher = jax.grad(cost, (0, 1))(logits, taught)
    assert np.any(student) and not np.any(teacher)
