"""Schedules and optimizers against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from seg_jax import optim
from seg_jax.config import ConfigError


def config(**fields):
    defaults = {
        "name": "sgd",
        "lr": 0.1,
        "schedule": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "momentum": 0.0,
        "grad_clip": 0.0,
    }
    assert fields.keys() <= defaults.keys()
    return ConfigDict({**defaults, **fields})


def rates(steps, at, **fields):
    _, schedule = optim.build(config(**fields), steps=steps)
    return [float(schedule(jnp.int32(t))) for t in at]


def run(optimizer, params, gradients):
    """The parameters after each of the gradients."""
    state, history = optimizer.init(params), []
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        history.append(params)
    return history


def vectors(*rows):
    return [{"w": jnp.array(row)} for row in rows]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [2, 2, 2, 2, 2]),
        # (1 + cos(pi t / 100)) / 2 at 0, 1/4, 1/2, 3/4, 1.
        ("cosine", [2, 1 + 0.5**0.5, 1, 1 - 0.5**0.5, 0]),
        ("polynomial", [2, 2 * 0.75**0.9, 2 * 0.5**0.9, 2 * 0.25**0.9, 0]),
    ],
)
def test_schedules_at_known_steps(schedule, expected):
    assert rates(100, [0, 25, 50, 75, 100], lr=2.0, schedule=schedule) == pytest.approx(expected, abs=1e-6)


def test_schedules_are_all_tested():
    assert set(optim.SCHEDULES) == {"constant", "cosine", "polynomial"}


def test_warmup_grows_linearly_and_reaches_the_rate():
    # 4 steps of warm-up: 1/4, 2/4, 3/4, 4/4 of the rate; no step is taken at 0.
    assert rates(10, range(6), lr=2.0, warmup_steps=4) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])


@pytest.mark.parametrize("schedule", ["cosine", "polynomial"])
def test_after_warmup_the_schedule_runs_over_the_rest(schedule):
    warm = rates(110, range(10, 111), schedule=schedule, warmup_steps=10)
    assert warm == pytest.approx(rates(100, range(101), schedule=schedule), abs=1e-8)
    assert warm[0] == pytest.approx(0.1) and warm[-1] == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("schedule", optim.SCHEDULES)
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (5, 5), (5, 20), (7, 3)])
def test_rates_are_finite_and_positive_while_the_run_lasts(schedule, steps, warmup):
    values = rates(steps, range(steps), schedule=schedule, warmup_steps=warmup)
    assert np.isfinite(values).all() and min(values) > 0 and max(values) <= 0.1 + 1e-7


def parameters():
    rng = np.random.default_rng(0)
    return {
        "conv": {"kernel": rng.standard_normal((3, 3, 2, 4), np.float32), "bias": rng.standard_normal(4, np.float32)},
        "norm": {"scale": rng.standard_normal(4, np.float32), "bias": rng.standard_normal(4, np.float32)},
    }


def test_decay_is_for_kernels():
    assert optim.decayed(parameters()) == {
        "conv": {"kernel": True, "bias": False},
        "norm": {"scale": False, "bias": False},
    }


# With a gradient of zero the decay alone moves a kernel k: by lr * decay * k; with Adam's normalisation of the
# decayed gradient by lr * g / (|g| + 1e-8), g = decay * k, at the first step.
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("adamw", lambda k: 0.1 * 0.01 * k),
        ("sgd", lambda k: 0.1 * 0.01 * k),
        ("adam", lambda k: 0.1 * 0.01 * k / (np.abs(0.01 * k) + 1e-8)),
    ],
)
def test_decay_shrinks_kernels_and_leaves_the_rest_exactly(name, change):
    params = parameters()
    optimizer, _ = optim.build(config(name=name, weight_decay=0.01), steps=10)
    after = run(optimizer, params, [jax.tree.map(jnp.zeros_like, params)])[0]
    kernel = params["conv"].pop("kernel")
    moved = after["conv"].pop("kernel")
    np.testing.assert_allclose(moved, kernel - change(kernel), rtol=1e-6, atol=2e-6)
    jax.tree.map(np.testing.assert_array_equal, after, params)


def test_optimizers_are_all_tested():
    assert set(optim.OPTIMIZERS) == {"adam", "adamw", "sgd"}


def test_sgd_with_momentum_by_hand():
    # v1 = g1, w1 = w0 - 0.1 v1; v2 = 0.9 v1 + g2, w2 = w1 - 0.1 v2.
    optimizer, _ = optim.build(config(momentum=0.9), steps=10)
    first, second = run(optimizer, {"w": jnp.array([1.0, -2.0])}, vectors([2.0, 1.0], [-1.0, 3.0]))
    np.testing.assert_allclose(first["w"], [0.8, -2.1], rtol=1e-6)
    np.testing.assert_allclose(second["w"], [0.8 - 0.1 * (1.8 - 1.0), -2.1 - 0.1 * (0.9 + 3.0)], rtol=1e-6)


def test_sgd_without_momentum_keeps_no_state_for_it():
    optimizer, _ = optim.build(config(momentum=0.0), steps=10)
    assert not any(leaf.size > 1 for leaf in jax.tree.leaves(optimizer.init({"w": jnp.zeros(5)})))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_by_hand(name):
    # Bias-corrected, b1 = 0.9, b2 = 0.999: m1 = g1, v1 = g1^2, a step of lr * sign; then
    # m2 = (0.9 * 0.1 g1 + 0.1 g2) / (1 - 0.81), v2 = (0.999 * 0.001 g1^2 + 0.001 g2^2) / (1 - 0.998001).
    optimizer, _ = optim.build(config(name=name), steps=10)
    first, second = run(optimizer, {"w": jnp.array([1.0])}, vectors([2.0], [-1.0]))
    assert float(first["w"][0]) == pytest.approx(0.9, rel=1e-5)
    m2 = (0.09 * 2 - 0.1) / 0.19
    v2 = (0.000999 * 4 + 0.001) / 0.001999
    assert float(second["w"][0]) == pytest.approx(0.9 - 0.1 * m2 / v2**0.5, rel=1e-5)


def test_clipping_scales_the_whole_gradient():
    # (3, 4) and 12 have the global norm 13; at most 6.5 leaves half of each.
    optimizer, _ = optim.build(config(grad_clip=6.5), steps=10)
    params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    long, short = run(
        optimizer,
        params,
        [{"a": jnp.array([3.0, 4.0]), "b": jnp.array([12.0])}, {"a": jnp.array([0.3, 0.4]), "b": jnp.array([1.2])}],
    )
    np.testing.assert_allclose(long["a"], [-0.15, -0.2], rtol=1e-6)
    np.testing.assert_allclose(long["b"], [-0.6], rtol=1e-6)
    np.testing.assert_allclose(short["a"] - long["a"], [-0.03, -0.04], rtol=1e-5)


def test_clipping_comes_before_the_decay():
    # What is clipped is the gradient of the loss, not the pull of the decay: a zero gradient stays zero.
    optimizer, _ = optim.build(config(grad_clip=1e-3, weight_decay=0.5), steps=10)
    after = run(optimizer, {"kernel": jnp.full((1, 1), 8.0)}, [{"kernel": jnp.zeros((1, 1))}])[0]
    assert float(after["kernel"][0, 0]) == pytest.approx(8 - 0.1 * 0.5 * 8)


def test_no_clipping_at_zero():
    optimizer, _ = optim.build(config(grad_clip=0.0), steps=10)
    assert float(run(optimizer, {"w": jnp.zeros(1)}, vectors([1e6]))[0]["w"][0]) == pytest.approx(-1e5)


def test_the_optimizer_follows_the_schedule():
    # A gradient of 1 shows the rates: 1/2, 1, then half a cosine over 2 steps: 1, 1/2.
    optimizer, schedule = optim.build(config(lr=1.0, schedule="cosine", warmup_steps=2), steps=4)
    history = run(optimizer, {"w": jnp.zeros(1)}, vectors(*[[1.0]] * 4))
    positions = np.array([0.0, *(float(p["w"][0]) for p in history)])
    np.testing.assert_allclose(-np.diff(positions), [0.5, 1.0, 1.0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(-np.diff(positions), [float(schedule(t)) for t in range(4)], rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "name", "meant"), [("name", "adamax", "adam"), ("schedule", "cosin", "cosine"), ("name", "SGD", "")]
)
def test_unknown_names_are_refused(field, name, meant):
    hint = rf".*Did you mean '{meant}" if meant else ""
    with pytest.raises(ConfigError, match=rf"config\.optim\.{field} = '{name}' is not one of: {hint}"):
        optim.build(config(**{field: name}), steps=10)
