"""Schedules and optimizers against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from seg_jax import optim
from seg_jax.config import ConfigError
from seg_jax.optim import schedules

FINETUNE = {"lr": 0.0, "encoder_lr": 1.0, "layer_decay": 1.0}


def build(*, steps=10, frozen_steps=0, restarts=(), finetune=None, **fields):
    """The optimizer of these fields of config.optim over plain gradient descent at a rate of 0.1."""
    defaults = {
        "name": "sgd",
        "lr": 0.1,
        "schedule": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "momentum": 0.0,
        "grad_clip": 0.0,
        "factor": 0.1,
        "milestones": (0.6, 0.85),
        "groups": (),
    }
    assert fields.keys() <= defaults.keys() and (finetune or {}).keys() <= FINETUNE.keys()
    groups = ConfigDict({**defaults, **fields}), ConfigDict({**FINETUNE, **(finetune or {})})
    return optim.build(*groups, steps=steps, frozen_steps=frozen_steps, restarts=restarts)


def rates(steps, at, **fields):
    schedule = build(steps=steps, **fields).schedule
    return [float(schedule(jnp.int32(t))) for t in at]


def run(optimizer, params, gradients):
    """The parameters of a decoder after each of the gradients."""
    params = {"encoder": {}, "decoder": params}
    state, history = optimizer.init(params), []
    for step, gradient in enumerate(gradients):
        params, state = optimizer.update({"encoder": {}, "decoder": gradient}, state, params, jnp.int32(step))
        history.append(params["decoder"])
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
        # A tenth from step 60 on, a hundredth from step 85 on.
        ("step", [2, 2, 2, 0.2, 0.02]),
        ("plateau", [2, 2, 2, 2, 2]),
        # 2/25 at 0, 2 at step 30, half a cosine up and down: at 25 five sixths of the way, at 50, 75, 100 2/7, 9/14, 1.
        (
            "one_cycle",
            [
                0.08,
                0.08 + 1.92 * (1 + 0.75**0.5) / 2,
                *(8e-6 + (2 - 8e-6) * (1 + np.cos(np.pi * x)) / 2 for x in (2 / 7, 9 / 14, 1)),
            ],
        ),
    ],
)
def test_schedules_at_known_steps(schedule, expected):
    assert rates(100, [0, 25, 50, 75, 100], lr=2.0, schedule=schedule) == pytest.approx(expected, abs=1e-6)


def test_schedules_are_all_tested():
    assert set(schedules.SCHEDULES) == {"constant", "cosine", "one_cycle", "plateau", "polynomial", "step"}


def test_milestones_and_factor():
    found = rates(10, range(10), lr=1.0, schedule="step", milestones=(0.2, 0.5, 0.9), factor=0.5)
    assert found == pytest.approx([1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125])


def test_warmup_grows_linearly_and_reaches_the_rate():
    # 4 steps of warm-up: 1/4, 2/4, 3/4, 4/4 of the rate; no step is taken at 0.
    assert rates(10, range(6), lr=2.0, warmup_steps=4) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])


@pytest.mark.parametrize("schedule", ["cosine", "polynomial"])
def test_after_warmup_the_schedule_runs_over_the_rest(schedule):
    warm = rates(110, range(10, 111), schedule=schedule, warmup_steps=10)
    assert warm == pytest.approx(rates(100, range(101), schedule=schedule), abs=1e-8)
    assert warm[0] == pytest.approx(0.1) and warm[-1] == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("schedule", schedules.SCHEDULES)
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


# With a gradient of zero the decay alone moves a kernel k: by lr * decay * k; with Adam's normalisation of the
# decayed gradient by lr * g / (|g| + 1e-8), g = decay * k, at the first step.
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("adamw", lambda k: 0.1 * 0.01 * k),
        ("sgd", lambda k: 0.1 * 0.01 * k),
        ("muon", lambda k: 0.1 * 0.01 * k),
        ("adafactor", lambda k: 0.1 * 0.01 * k),
        # The direction, decay * k, as long as the kernel.
        ("lamb", lambda k: 0.1 * k),
        ("adam", lambda k: 0.1 * 0.01 * k / (np.abs(0.01 * k) + 1e-8)),
    ],
)
def test_decay_shrinks_kernels_and_leaves_the_rest_exactly(name, change):
    params = parameters()
    optimizer = build(name=name, weight_decay=0.01)
    after = run(optimizer, params, [jax.tree.map(jnp.zeros_like, params)])[0]
    kernel = params["conv"].pop("kernel")
    moved = after["conv"].pop("kernel")
    np.testing.assert_allclose(moved, kernel - change(kernel), rtol=1e-6, atol=2e-6)
    jax.tree.map(np.testing.assert_array_equal, after, params)


def test_optimizers_are_all_tested():
    assert set(optim.OPTIMIZERS) == {"adafactor", "adam", "adamw", "lamb", "muon", "sgd"}


def test_lamb_by_hand():
    # Adam's first direction is the sign, of norm sqrt(2) for two numbers; it is made as long as the parameter, 5.
    after = run(build(name="lamb"), {"w": jnp.array([[3.0], [4.0]])}, [{"w": jnp.array([[0.1], [-2.0]])}])[0]["w"]
    np.testing.assert_allclose(after[:, 0], [3 - 0.1 * 5 / 2**0.5, 4 + 0.1 * 5 / 2**0.5], rtol=1e-4)


def test_muon_orthogonalizes_kernels_and_leaves_the_rest_to_adam():
    # A kernel [1 1 4 3] is a matrix of 4 inputs and 3 outputs. Its direction is scaled by 0.2 sqrt(4); five steps of
    # Newton-Schulz bring singular values to between 0.7 and 1.2 (Jordan et al. 2024).
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.zeros((1, 1, 4, 3)), "bias": jnp.zeros(3)}
    gradient = {"kernel": jnp.float32(rng.standard_normal((1, 1, 4, 3))), "bias": jnp.array([1.0, -2.0, 0.5])}
    after = run(build(name="muon", momentum=0.95), params, [gradient])[0]
    singular = np.linalg.svd(np.asarray(after["kernel"]).reshape(4, 3) / (-0.1 * 0.2 * 2), compute_uv=False)
    assert (singular > 0.65).all() and (singular < 1.25).all()
    # NAdam's first step: 0.9 of the momentum of the next step, corrected, 0.1 / 0.19, and the whole gradient.
    step = 0.9 * 0.1 / 0.19 + 1
    np.testing.assert_allclose(after["bias"], -0.1 * step * np.sign(gradient["bias"]), rtol=1e-4)


def test_adafactor_by_hand():
    # The first step divides by the gradient's own size, is clipped to a root mean square of 1, and is relative to that
    # of the parameter, 0.5.
    after = run(build(name="adafactor"), {"w": jnp.array([0.5, -0.5])}, vectors([2.0, -1.0]))[0]["w"]
    np.testing.assert_allclose(after, [0.5 - 0.1 * 0.5, -0.5 + 0.1 * 0.5], rtol=1e-4)


def test_groups_have_rates_and_decays_of_their_own():
    params = {"encoder": {"stem": {"kernel": jnp.ones((1, 1))}}, "decoder": {"head": {"kernel": jnp.ones((1, 1))}}}
    groups = (("encoder/.*", 0.5, 0.0), (".*/kernel", 1.0, 3.0))
    optimizer = build(weight_decay=0.2, groups=groups)
    after, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params, jnp.int32(0))
    # The encoder at half of the rate without decay; the decoder with three times the decay.
    assert float(after["encoder"]["stem"]["kernel"][0, 0]) == pytest.approx(1 - 0.1 * 0.5)
    assert float(after["decoder"]["head"]["kernel"][0, 0]) == pytest.approx(1 - 0.1 * (1 + 3 * 0.2))


@pytest.mark.parametrize("pattern", ["encoder", "encoder/stages/.*", "kernel"])
def test_a_group_that_fits_nothing_is_refused(pattern):
    with pytest.raises(ConfigError, match=rf"config\.optim\.groups: '{pattern}' fits no parameter.*decoder/head/bias"):
        build(groups=((pattern, 1.0, 1.0),)).init(stages())


def test_sgd_with_momentum_by_hand():
    # v1 = g1, w1 = w0 - 0.1 v1; v2 = 0.9 v1 + g2, w2 = w1 - 0.1 v2.
    optimizer = build(momentum=0.9)
    first, second = run(optimizer, {"w": jnp.array([1.0, -2.0])}, vectors([2.0, 1.0], [-1.0, 3.0]))
    np.testing.assert_allclose(first["w"], [0.8, -2.1], rtol=1e-6)
    np.testing.assert_allclose(second["w"], [0.8 - 0.1 * (1.8 - 1.0), -2.1 - 0.1 * (0.9 + 3.0)], rtol=1e-6)


def test_sgd_without_momentum_keeps_no_state_for_it():
    state = build(momentum=0.0).init({"encoder": {}, "decoder": {"w": jnp.zeros(5)}})
    assert not any(leaf.size > 1 for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_by_hand(name):
    # Bias-corrected, b1 = 0.9, b2 = 0.999: m1 = g1, v1 = g1^2, a step of lr * sign; then
    # m2 = (0.9 * 0.1 g1 + 0.1 g2) / (1 - 0.81), v2 = (0.999 * 0.001 g1^2 + 0.001 g2^2) / (1 - 0.998001).
    optimizer = build(name=name)
    first, second = run(optimizer, {"w": jnp.array([1.0])}, vectors([2.0], [-1.0]))
    assert float(first["w"][0]) == pytest.approx(0.9, rel=1e-5)
    m2 = (0.09 * 2 - 0.1) / 0.19
    v2 = (0.000999 * 4 + 0.001) / 0.001999
    assert float(second["w"][0]) == pytest.approx(0.9 - 0.1 * m2 / v2**0.5, rel=1e-5)


def test_clipping_scales_the_whole_gradient():
    # (3, 4) and 12 have the global norm 13; at most 6.5 leaves half of each.
    optimizer = build(grad_clip=6.5)
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
    optimizer = build(grad_clip=1e-3, weight_decay=0.5)
    after = run(optimizer, {"kernel": jnp.full((1, 1), 8.0)}, [{"kernel": jnp.zeros((1, 1))}])[0]
    assert float(after["kernel"][0, 0]) == pytest.approx(8 - 0.1 * 0.5 * 8)


def test_no_clipping_at_zero():
    optimizer = build(grad_clip=0.0)
    assert float(run(optimizer, {"w": jnp.zeros(1)}, vectors([1e6]))[0]["w"][0]) == pytest.approx(-1e5)


def test_the_optimizer_follows_the_schedule():
    # A gradient of 1 shows the rates: 1/2, 1, then half a cosine over 2 steps: 1, 1/2.
    optimizer = build(steps=4, lr=1.0, schedule="cosine", warmup_steps=2)
    history = run(optimizer, {"w": jnp.zeros(1)}, vectors(*[[1.0]] * 4))
    positions = np.array([0.0, *(float(p["w"][0]) for p in history)])
    np.testing.assert_allclose(-np.diff(positions), [0.5, 1.0, 1.0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(-np.diff(positions), [float(optimizer.schedule(t)) for t in range(4)], rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "name", "meant"), [("name", "adamax", "adam"), ("schedule", "cosin", "cosine"), ("name", "SGD", "")]
)
def test_unknown_names_are_refused(field, name, meant):
    hint = rf".*Did you mean '{meant}" if meant else ""
    with pytest.raises(ConfigError, match=rf"config\.optim\.{field} = '{name}' is not one of: {hint}"):
        build(**{field: name})


# ----- fine-tuning


def test_a_second_rate_begins_warmup_and_schedule_anew():
    # 4 frozen steps at 1.0, then 6 at 0.1, each with 2 steps of warm-up and a cosine over what is left:
    # (1 + cos(pi t / 2)) / 2 = 1, 1/2; (1 + cos(pi t / 4)) / 2 = 1, (1 + sqrt(1/2)) / 2, 1/2, (1 - sqrt(1/2)) / 2.
    found = rates(10, range(10), lr=1.0, schedule="cosine", warmup_steps=2, frozen_steps=4, finetune={"lr": 0.1})
    half = 0.5**0.5 / 2
    expected = [0.5, 1, 1, 0.5, *(0.1 * x for x in (0.5, 1, 1, 0.5 + half, 0.5, 0.5 - half))]
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("frozen_steps", "lr"), [(0, 0.1), (4, 0.0), (10, 0.1), (0, 0.0)])
def test_one_phase_has_one_schedule(frozen_steps, lr):
    options = {"lr": 1.0, "schedule": "cosine", "warmup_steps": 2}
    found = rates(10, range(10), **options, frozen_steps=frozen_steps, finetune={"lr": lr})
    assert found == rates(10, range(10), **options)


@pytest.mark.parametrize(("frozen_steps", "expected"), [(1, [1, 0.05, 0.1, 0.1]), (3, [0.5, 1, 1, 0.1])])
def test_a_warmup_that_is_longer_than_a_phase_ends_with_it(frozen_steps, expected):
    # A phase of one step has none: it is taken at the whole rate.
    assert rates(4, range(4), lr=1.0, warmup_steps=2, frozen_steps=frozen_steps, finetune={"lr": 0.1}) == (
        pytest.approx(expected)
    )


def test_a_restart_begins_warmup_and_schedule_anew_at_the_same_rate():
    # 1 step of warm-up each; cosines over 2 steps: 1, 1/2, over 3: 1, 3/4, 1/4, and over 1: 1.
    found = rates(9, range(9), lr=2.0, schedule="cosine", warmup_steps=1, restarts=(3, 7))
    assert found == pytest.approx([2, 2, 1, 2, 2, 1.5, 0.5, 2, 2], abs=1e-6)
    # `step` counts its shares within each part: 0.5 of 4, then 0.5 of 2 steps.
    found = rates(6, range(6), lr=1.0, schedule="step", milestones=(0.5,), restarts=(4,))
    assert found == pytest.approx([1, 1, 0.1, 0.1, 1, 0.1])


def test_a_restart_after_two_phases_has_the_second_rate():
    found = rates(6, range(6), lr=1.0, frozen_steps=2, finetune={"lr": 0.1}, restarts=(4,), warmup_steps=1)
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1])
    # The encoder was frozen beyond the first part: there is one rate.
    assert rates(6, range(6), lr=1.0, frozen_steps=5, restarts=(4,)) == pytest.approx([1] * 6)


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_endless_schedules_do_not_depend_on_the_length(name):
    short, long = (rates(steps, range(10), lr=1.0, schedule=name, warmup_steps=2) for steps in (10, 20))
    assert (short == long) == (name in schedules.ENDLESS)


def stages():
    """An encoder of a stem and three stages, the second of two blocks; a decoder."""
    encoder = {name: {"kernel": jnp.ones((1, 1))} for name in ("stem", "stage1", "stage2_block1", "stage2_block10")}
    return {"encoder": {**encoder, "stage3_norm": {"scale": jnp.ones(1)}}, "decoder": {"head": {"bias": jnp.ones(1)}}}


def test_rates_by_hand():
    # Deepest stage 3: 0.5; then a quarter of it each stage towards the image, whose stem counts as stage 0.
    found = optim.stage_rates(stages(), encoder_lr=0.5, layer_decay=0.25)
    assert found == {
        "encoder": {
            "stem": {"kernel": 0.5 / 64},
            "stage1": {"kernel": 0.5 / 16},
            "stage2_block1": {"kernel": 0.5 / 4},
            "stage2_block10": {"kernel": 0.5 / 4},
            "stage3_norm": {"scale": 0.5},
        },
        "decoder": {"head": {"bias": 1.0}},
    }


def test_the_bottom_block_is_the_deepest_stage():
    kernel = {"kernel": jnp.ones((1, 1))}
    encoder = dict.fromkeys(("bottom", "stem", "block1", "down1", "block2", "down2"), kernel)
    found = optim.stage_rates({"encoder": encoder}, encoder_lr=1.0, layer_decay=0.5)["encoder"]
    rates = {name: layer["kernel"] for name, layer in found.items()}
    assert rates == {"bottom": 1, "block2": 0.5, "down2": 0.5, "block1": 0.25, "down1": 0.25, "stem": 0.125}


def test_rates_are_1_unless_asked_for():
    assert set(jax.tree.leaves(optim.stage_rates(stages(), encoder_lr=1.0, layer_decay=1.0))) == {1.0}


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_a_rate_scales_the_step_and_its_decay(name):
    # At the first step the direction does not depend on the rate: a tenth of the rate is a tenth of the way.
    params = stages()
    grads = jax.tree.map(lambda p: 0.5 * p, params)

    def moved(**finetune):
        optimizer = build(name=name, weight_decay=0.01, finetune=finetune)
        after, _ = optimizer.update(grads, optimizer.init(params), params, jnp.int32(0))
        return jax.tree.map(lambda a, b: float((a - b).ravel()[0]), params, after)

    whole, scaled = moved(), moved(encoder_lr=0.1, layer_decay=0.5)
    assert min(jax.tree.leaves(whole)) > 1e-3
    factors = jax.tree.map(lambda a, b: a / b, scaled, whole)
    expected = optim.stage_rates(params, encoder_lr=0.1, layer_decay=0.5)
    assert jax.tree.leaves(factors) == pytest.approx(jax.tree.leaves(expected), rel=1e-4)
    assert whole["decoder"] == scaled["decoder"]


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_parts_without_gradients_stay(name):
    params = stages()
    optimizer = build(name=name, weight_decay=0.5, momentum=0.9, grad_clip=0.1)
    state = optimizer.init(params)
    grads = {"decoder": params["decoder"]}
    after, new_state = optimizer.update(grads, state, params, jnp.int32(3))
    jax.tree.map(
        np.testing.assert_array_equal, (after["encoder"], new_state["encoder"]), (params["encoder"], state["encoder"])
    )
    assert float(after["decoder"]["head"]["bias"][0]) < 1
    assert jax.tree.structure((after, new_state)) == jax.tree.structure((params, state))


def test_a_part_that_thaws_begins_as_if_training_had_just_begun():
    # Adam's first step is of the length of the rate; with a count that had run on it would be corrected less.
    params = stages()
    optimizer = build(name="adam")
    state = optimizer.init(params)
    grads = jax.tree.map(lambda p: 0.01 * p, params)
    for step in range(5):
        params, state = optimizer.update({"decoder": grads["decoder"]}, state, params, jnp.int32(step))
    after, _ = optimizer.update(grads, state, params, jnp.int32(5))
    assert float(after["encoder"]["stem"]["kernel"][0, 0]) == pytest.approx(1 - 0.1, rel=1e-5)
