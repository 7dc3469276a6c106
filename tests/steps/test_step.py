"""The compiled functions: against numpy on a network of one layer, and through Program on a small U-Net."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import default
from seg_jax import losses, models, optim
from seg_jax.models import layers
from seg_jax.run import cost, pretrained, program
from seg_jax.run.length import Length
from seg_jax.runtime import sharding
from seg_jax.steps import distil, train
from seg_jax.steps.state import TrainState

CLASSES = 3
IGNORE = 255
SIZE = (32, 32)
MEAN, STD = (0.5, 0.25, 0.75), (0.5, 0.25, 0.125)


class Part(nn.Module):
    """A 1x1 convolution named 'head', and with `count` a statistic of how often it was trained."""

    features: int
    count: bool = False

    @nn.compact
    def __call__(self, x, train):
        if self.count:
            steps = self.variable("batch_stats", "steps", jnp.zeros, ())
            steps.value += train
        return layers.Conv(self.features, 1, bias=True, name="head")(x)


class Whole(nn.Module):
    """A network whose decoder has logits at the size of the image."""

    def whole(self, logits, size):
        return logits


class Pointwise(Whole):
    """Logits of a pixel from that pixel alone: then an ignored pixel cannot matter by way of its neighbours."""

    @nn.compact
    def __call__(self, image, train, frozen=False, coarse=False):
        return {"logits": Part(CLASSES, name="decoder")(image, train)}


class Twofold(Whole):
    """An encoder and a decoder of a layer each, and two auxiliary heads in training."""

    @nn.compact
    def __call__(self, image, train, frozen=False, coarse=False):
        x = Part(4, count=True, name="encoder")(image, train and not frozen)
        outputs = {"logits": Part(CLASSES, count=True, name="decoder")(x, train)}
        if train:
            outputs |= {"aux": 2 * outputs["logits"], "other": -outputs["logits"]}
        return outputs


def photographs(b=4, size=(6, 5), seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(CLASSES, size=(b, *size), dtype=np.uint8)
    label[rng.random(label.shape) < 0.3] = IGNORE
    return {"image": rng.integers(256, size=(b, *size, 3), dtype=np.uint8), "label": label}


def optimizer_of(direction, schedule=lambda step: 0.5):
    def every(value):
        return lambda params: jax.tree.map(lambda _: value, params)

    return optim.Optimizer(lambda decay: direction, schedule, rates=every(1.0), decays=every(0.0))


SGD = optimizer_of(optax.identity())


def pointwise_state(optimizer):
    kernel = np.random.default_rng(1).standard_normal((1, 1, 3, CLASSES), np.float32)
    params = {"decoder": {"head": {"kernel": kernel, "bias": np.array([0.1, -0.2, 0.3], np.float32)}}}
    return TrainState.begin(params, {}, optimizer.init(params))


def twofold_state(optimizer):
    params, model_state = models.init(Twofold(), jax.random.key(0), (1, 2, 2, 3))
    return TrainState.begin(params, model_state, optimizer.init(params))


def whole_image(key, image, label):
    return models.normalize(image, MEAN, STD), label


def plain_train_step(
    optimizer,
    augment=whole_image,
    seed=0,
    model=None,
    aux_weight=0.0,
    frozen=False,
    objective=None,
    teach=train.no_teacher,
    **options,
):
    update = jax.jit(
        train.make_train_step(
            model=model or Pointwise(),
            optimizer=optimizer,
            objective=losses.build(objective or default.get_config().loss),
            teach=teach,
            aux_weight=aux_weight,
            frozen=frozen,
            augment=augment,
            seed=seed,
            **{"accumulate": 1, "groups": 1, "ema": 0.0, "skip_nonfinite": False, **options},
        )
    )
    return lambda state, batch, teacher=(): update(state, batch, teacher)


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def test_normalize_by_hand():
    image = jnp.array([[[[0, 51, 255]]]], jnp.uint8)
    normal = models.normalize(image, MEAN, STD)
    assert normal.dtype == jnp.float32
    np.testing.assert_allclose(normal[0, 0, 0], [-1.0, (0.2 - 0.25) / 0.25, 2.0], rtol=1e-6)


def test_train_step_is_the_numpy_gradient_step():
    state, batch = pointwise_state(SGD), photographs()
    after, measured = plain_train_step(SGD)(state, batch)
    # Mean over valid pixels of -log softmax; its gradient with respect to the logits is softmax - onehot.
    kept = batch["label"] != IGNORE
    x = ((batch["image"] / 255 - MEAN) / STD)[kept]
    t = batch["label"][kept]
    kernel, bias = (np.float64(state.params["decoder"]["head"][name]) for name in ("kernel", "bias"))
    log_p = log_softmax(x @ kernel[0, 0] + bias)
    error = (np.exp(log_p) - np.eye(CLASSES)[t]) / len(t)
    gradient = {"kernel": (x.T @ error)[None, None], "bias": error.sum(0)}
    assert measured.keys() == {"loss", "grad_norm", "lr", "skipped", "counts"}
    predicted = log_p.argmax(-1)
    by_hand = [[((predicted == c) & (t == c)).sum() for c in range(CLASSES)]]
    by_hand += [[((predicted == c) & (t != c)).sum() for c in range(CLASSES)]]
    by_hand += [[((predicted != c) & (t == c)).sum() for c in range(CLASSES)]]
    np.testing.assert_array_equal(measured["counts"], by_hand)
    assert measured["counts"].dtype == jnp.int32
    assert float(measured["loss"]) == pytest.approx(-log_p[np.arange(len(t)), t].mean(), rel=1e-5)
    norm = sum((g**2).sum() for g in gradient.values()) ** 0.5
    assert float(measured["grad_norm"]) == pytest.approx(norm, rel=1e-5)
    assert float(measured["lr"]) == 0.5
    for name, before in (("kernel", kernel), ("bias", bias)):
        np.testing.assert_allclose(
            after.params["decoder"]["head"][name], before - 0.5 * gradient[name], rtol=1e-5, atol=1e-6
        )
    assert int(after.step) == 1 and after.step.dtype == jnp.int32


def test_what_lies_under_ignored_pixels_changes_nothing():
    optimizer = optimizer_of(optax.trace(0.9))
    update, state, batch = plain_train_step(optimizer), pointwise_state(optimizer), photographs()
    ignored = batch["label"] == IGNORE
    noise = photographs(seed=9)["image"]
    repainted = {**batch, "image": np.where(ignored[..., None], noise, batch["image"])}
    assert (repainted["image"] != batch["image"]).any()
    one, two = update(state, batch), update(state, repainted)
    jax.tree.map(np.testing.assert_array_equal, one, two)
    # But the same noise under pixels that count is seen.
    seen = {**batch, "image": np.where(ignored[..., None], batch["image"], noise)}
    assert float(update(state, seen)[1]["loss"]) != float(one[1]["loss"])


def test_every_value_past_the_classes_is_ignored_in_training():
    update, state, batch = plain_train_step(SGD), pointwise_state(SGD), photographs()
    ignored = batch["label"] == IGNORE
    other = {**batch, "label": np.where(ignored, np.uint8(CLASSES), batch["label"])}
    jax.tree.map(np.testing.assert_array_equal, update(state, batch), update(state, other))


def test_a_batch_that_is_ignored_altogether_moves_nothing():
    state, batch = pointwise_state(SGD), photographs()
    batch["label"][:] = IGNORE
    after, measured = plain_train_step(SGD)(state, batch)
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
    assert float(measured["loss"]) == 0 and float(measured["grad_norm"]) == 0


def test_the_reported_rate_is_the_one_of_the_step():
    optimizer = optimizer_of(optax.identity(), schedule=lambda step: 0.125 * step)
    state = pointwise_state(optimizer).replace(step=jnp.int32(7))
    after, measured = plain_train_step(optimizer)(state, photographs())
    assert float(measured["lr"]) == 0.875 and int(after.step) == 8


def changed(before, after):
    """Which leaves of two states differ, by path."""
    after = dict(jax.tree_util.tree_leaves_with_path(after))
    leaves = jax.tree_util.tree_leaves_with_path(before)
    return {jax.tree_util.keystr(path, simple=True, separator="/") for path, a in leaves if (a != after[path]).any()}


def test_a_frozen_encoder_stays_with_its_statistics_and_its_optimizer():
    optimizer = optimizer_of(optax.chain(optax.add_decayed_weights(0.1), optax.trace(0.9)))
    state, batch = twofold_state(optimizer), photographs()
    everything = {
        f"{part}/{name}/{leaf}"
        for part, name, leaf in [
            *(("params", part, leaf) for part in ("encoder", "decoder") for leaf in ("head/kernel", "head/bias")),
            *(
                ("opt_state", part, f"1/trace/head/{leaf}")
                for part in ("encoder", "decoder")
                for leaf in ("kernel", "bias")
            ),
            *(("model_state/batch_stats", part, "steps") for part in ("encoder", "decoder")),
        ]
    }
    after, measured = plain_train_step(optimizer, model=Twofold())(state, batch)
    assert changed(state, after) == {"step", *everything}
    frozen, without = plain_train_step(optimizer, model=Twofold(), frozen=True)(state, batch)
    assert changed(state, frozen) == {"step", *(name for name in everything if "encoder" not in name)}
    assert jax.tree.structure(frozen) == jax.tree.structure(state)
    # The decoder learns the same, and its gradient alone is measured.
    jax.tree.map(np.testing.assert_array_equal, frozen.params["decoder"], after.params["decoder"])
    assert float(without["loss"]) == float(measured["loss"])
    assert 0 < float(without["grad_norm"]) < float(measured["grad_norm"])


def test_the_losses_of_auxiliary_heads_are_added_with_their_weight():
    state, batch = twofold_state(SGD), photographs()

    def loss_of(factor):
        scaled = jax.tree.map(lambda p: factor * p, state.params["decoder"])
        step = plain_train_step(SGD, model=Twofold())
        return float(step(state.replace(params={**state.params, "decoder": scaled}), batch)[1]["loss"])

    weighted, measured = plain_train_step(SGD, model=Twofold(), aux_weight=0.25)(state, batch)
    expected = loss_of(1) + 0.25 * (loss_of(2) + loss_of(-1))
    assert float(measured["loss"]) == pytest.approx(expected, rel=1e-5)
    assert "params/encoder/head/kernel" in changed(plain_train_step(SGD, model=Twofold())(state, batch)[0], weighted)


@pytest.mark.parametrize("groups", [1, 2])
def test_accumulation_is_the_step_of_the_whole_batch(groups):
    # Where every example has as many labelled pixels, and without batch statistics, it is the very same step.
    state, batch = pointwise_state(SGD), photographs(8)
    batch["label"][batch["label"] == IGNORE] = 1
    whole, measured = plain_train_step(SGD)(state, batch)
    parts, in_parts = plain_train_step(SGD, accumulate=4, groups=groups)(state, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), whole.params, parts.params)
    for name in ("loss", "grad_norm"):
        assert float(in_parts[name]) == pytest.approx(float(measured[name]), rel=1e-5)
    np.testing.assert_array_equal(in_parts["counts"], measured["counts"])


def test_accumulation_updates_statistics_and_draws_dropout_in_every_part():
    state, batch = twofold_state(SGD), photographs(8)
    after, _ = plain_train_step(SGD, model=Twofold(), accumulate=4)(state, batch)
    assert {int(n) for n in jax.tree.leaves(after.model_state)} == {4}


class Remembering(Whole):
    """Keeps, as a statistic, which examples each part had; an example's number is its red."""

    @nn.compact
    def __call__(self, image, train, frozen=False, coarse=False):
        seen = self.variable("batch_stats", "seen", jnp.zeros, (2, len(image)))
        seen.value = jnp.roll(seen.value, -1, 0).at[-1].set(image[:, 0, 0, 0])
        return {"logits": Part(CLASSES, name="decoder")(image, train)}


def test_parts_take_as_many_examples_of_every_device():
    batch = {"image": np.zeros((12, 1, 1, 3), np.uint8), "label": np.zeros((12, 1, 1), np.uint8)}
    batch["image"][..., 0] = np.arange(12)[:, None, None]
    state = pointwise_state(SGD).replace(model_state={"batch_stats": {"seen": jnp.zeros((2, 6))}})
    update = plain_train_step(
        SGD, model=Remembering(), augment=lambda key, image, label: (image.astype(jnp.float32), label),
        accumulate=2, groups=3,
    )  # fmt: skip
    after, _ = update(state, batch)
    # The first device has the examples 0 to 3, the second 4 to 7, the third 8 to 11.
    expected = [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]
    np.testing.assert_array_equal(after.model_state["batch_stats"]["seen"], expected)


def test_the_average_of_the_weights_by_hand():
    state, batch = twofold_state(SGD), photographs()
    state = state.replace(ema=state.weights(averaged=False))
    one_step = plain_train_step(SGD, model=Twofold(), ema=0.15)
    first = one_step(state, batch)[0]
    second = one_step(first, batch)[0]
    # The decay is 1/10 at step 0, and 2/11 at step 1, which is more than 0.15.
    expected = state.weights(averaged=False)
    for after, decay in ((first, 0.1), (second, 0.15)):
        now = after.weights(averaged=False)
        expected = jax.tree.map(lambda old, new, d=decay: d * old + (1 - d) * new, expected, now)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after.weights(averaged=True), expected)


def test_a_step_that_is_not_finite_is_skipped_and_counted():
    optimizer = optimizer_of(optax.scale_by_adam())
    state, batch = twofold_state(optimizer), photographs()
    state = state.replace(ema=state.weights(averaged=False))
    broken = state.replace(params=jax.tree.map(lambda p: jnp.full_like(p, jnp.inf), state.params))
    one_step = plain_train_step(optimizer, model=Twofold(), ema=0.9, skip_nonfinite=True)
    after, measured = one_step(broken, batch)
    assert not np.isfinite(float(measured["loss"])) and int(measured["skipped"]) == 1
    assert changed(broken, after) == {"step", "skipped"}
    after, measured = one_step(state.replace(skipped=jnp.int32(2)), batch)
    assert int(measured["skipped"]) == 2 and "params/encoder/head/kernel" in changed(state, after)


def test_the_factor_of_the_rate_scales_the_step():
    state, batch = pointwise_state(SGD), photographs()
    whole, measured = plain_train_step(SGD)(state, batch)
    half, scaled = plain_train_step(SGD)(state.replace(lr_scale=jnp.float32(0.5)), batch)
    assert (float(measured["lr"]), float(scaled["lr"])) == (0.5, 0.25)
    for before, one, two in zip(*(jax.tree.leaves(s.params) for s in (state, whole, half)), strict=True):
        np.testing.assert_allclose(before - two, (before - one) / 2, rtol=1e-5)


def objective_of(**weights):
    loss = default.get_config().loss
    loss.weights.update({"cross_entropy": 0.0, **weights})
    return loss


def test_an_objective_of_several_losses_is_their_weighted_sum():
    state, batch = twofold_state(SGD), photographs()

    def measured(aux_weight=0.0, **weights):
        update = plain_train_step(SGD, model=Twofold(), aux_weight=aux_weight, objective=objective_of(**weights))
        return update(state, batch)[1]

    cross_entropy, dice = (measured(**{name: 1.0}) for name in ("cross_entropy", "dice"))
    both = measured(cross_entropy=0.5, dice=2.0)
    assert cross_entropy.keys() == {"loss", "grad_norm", "lr", "skipped", "counts"}  # one loss is the objective
    assert both.keys() == {"loss", "loss/cross_entropy", "loss/dice", "grad_norm", "lr", "skipped", "counts"}
    assert float(both["loss/dice"]) == pytest.approx(float(dice["loss"]), rel=1e-6)
    assert float(both["loss/cross_entropy"]) == pytest.approx(float(cross_entropy["loss"]), rel=1e-6)
    assert float(both["loss"]) == pytest.approx(0.5 * float(cross_entropy["loss"]) + 2 * float(dice["loss"]), rel=1e-5)
    # Auxiliary heads have the same objective; the means are those of the main one.
    more = measured(aux_weight=0.25, cross_entropy=0.5, dice=2.0)
    assert float(more["loss"]) > float(both["loss"])
    assert float(more["loss/dice"]) == float(both["loss/dice"])


def test_the_teacher_sees_the_augmented_image_with_its_own_normalisation():
    # The same weights teach; their normalisation turns each image into the negative of what the student sees.
    state, batch = pointwise_state(SGD), photographs()
    mean = tuple(1 - m for m in MEAN)
    teach = distil.make_teach(model=Pointwise(), own=(mean, STD), given=(MEAN, STD))
    weights = {"params": state.params, "model_state": {}}

    def negative(key, image, label):
        return models.normalize(255 - image.astype(jnp.float32), MEAN, STD), label

    def update(augment, teach):
        return plain_train_step(SGD, augment, objective=objective_of(distillation=1.0), teach=teach)(
            state, batch, weights
        )

    same = distil.make_teach(model=Pointwise(), own=(MEAN, STD), given=(MEAN, STD))
    _, measured = update(negative, same)
    assert float(measured["loss"]) == pytest.approx(0, abs=1e-6)
    assert float(measured["grad_norm"]) == pytest.approx(0, abs=1e-6)
    kernel, bias = (np.float64(state.params["decoder"]["head"][name]) for name in ("kernel", "bias"))
    kept = batch["label"] != IGNORE
    student = log_softmax((((batch["image"] / 255 - MEAN) / STD)[kept] @ kernel[0, 0] + bias) / 2)
    teacher = log_softmax((((batch["image"] / 255 - mean) / STD)[kept] @ kernel[0, 0] + bias) / 2)
    expected = 4 * (np.exp(teacher) * (teacher - student)).sum(-1).mean()
    after, measured = update(whole_image, teach)
    assert float(measured["loss"]) == pytest.approx(expected, rel=1e-4)
    assert changed(state, after) == {"step", "params/decoder/head/kernel", "params/decoder/head/bias"}


def test_the_augmentation_is_drawn_from_seed_and_step():
    batch = photographs()
    batch["label"][:] = 0

    def noise(key, image, label):
        return models.normalize(255 * jax.random.uniform(key, image.shape), MEAN, STD), label

    def loss(seed, at):
        state = pointwise_state(SGD).replace(step=jnp.int32(at))
        return float(plain_train_step(SGD, augment=noise, seed=seed)(state, batch)[1]["loss"])

    drawn = [loss(seed, at) for seed in (0, 1, 2) for at in (0, 1, 2)]
    assert len(set(drawn)) == 9
    assert loss(1, 2) == drawn[5]


@pytest.fixture(scope="module")
def small(tiny_config):
    """A U-Net with augmentation and batch norm on one device."""
    config = tiny_config(
        {"augment.scale": (0.5, 2.0), "augment.rotate": 10.0, "augment.brightness": 0.3, "augment.hue": 0.1}
    )
    return program.Functions(
        pretrained.resolve(config), classes=CLASSES, mesh=sharding.make_mesh(1), length=Length(10, every=10)
    )


@pytest.fixture(scope="module")
def compiled(small):
    """(train step, eval step, initial state as host arrays), compiled once; there is no teacher."""
    train_step, eval_step = small.train_step(SIZE).compile(), small.eval_step(SIZE).compile()
    return (
        lambda state, batch: train_step(state, batch, ()),
        lambda *arguments: eval_step(*arguments, ()),
        jax.device_get(small.init()),
    )


def on_device(small, tree):
    return sharding.to_devices(tree, small.mesh)


def test_a_step_is_a_function_of_seed_and_step(small, compiled):
    train_step, _, state = compiled
    batch = sharding.place(photographs(8, SIZE), small.mesh)
    first, again = (train_step(on_device(small, state), batch) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    # Another step draws another augmentation of the same batch; Adam's count and the schedule do not enter the loss.
    later, measured = train_step(on_device(small, state.replace(step=np.int32(1))), batch)
    assert abs(float(measured["loss"]) - float(first[1]["loss"])) > 1e-4
    assert int(later.step) == 2 and int(first[0].step) == 1


def test_training_changes_parameters_statistics_and_optimizer(small, compiled):
    train_step, _, state = compiled
    after, _ = train_step(on_device(small, state), sharding.place(photographs(8, SIZE), small.mesh))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for field in ("params", "model_state", "opt_state", "step"):
        one, two = (jax.tree.leaves(getattr(s, field)) for s in (state, after))
        for before, now in zip(one, two, strict=True):
            assert before.shape == now.shape and before.dtype == now.dtype
            assert (np.asarray(now) != before).any()
    assert (float(after.lr_scale), int(after.skipped), after.ema) == (1.0, 0, {})


def test_the_state_is_donated(small, compiled):
    train_step, _, state = compiled
    placed = on_device(small, state)
    batch = sharding.place(photographs(8, SIZE), small.mesh)
    train_step(placed, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(placed))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(batch))


def test_donation_saves_the_memory_of_a_state(small):
    size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(small.abstract_state))
    for steps in (1, 2):
        compiled = small.train_step(SIZE, steps=steps).compile()
        memory = compiled.memory_analysis()
        assert memory.alias_size_in_bytes >= size * 0.99  # that of one number for each of eight devices is not counted
        kept = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
        assert cost.peak_memory(compiled) <= kept - 0.99 * size


def logits_of(small, state, image):
    image = (image.astype(np.float32) / 255 - np.float32(small.config.data.mean)) / np.float32(small.config.data.std)
    outputs, _ = jax.jit(lambda x: models.forward(small.model, state.params, state.model_state, x, train=False))(image)
    return np.asarray(outputs["logits"], np.float64)


def test_eval_step_is_the_numpy_count(small, compiled):
    _, eval_step, state = compiled
    batch = photographs(8, SIZE)
    counts = eval_step(*on_device(small, (state.params, state.model_state)), sharding.place(batch, small.mesh))
    logits = logits_of(small, state, batch["image"])
    confusion, total = np.zeros((CLASSES, CLASSES), int), 0.0
    for truth, row in zip(batch["label"].ravel(), logits.reshape(-1, CLASSES), strict=True):
        if truth != IGNORE:
            confusion[truth, row.argmax()] += 1
            total -= log_softmax(row)[truth]
    assert counts["confusion"].dtype == jnp.int32
    np.testing.assert_array_equal(counts["confusion"], confusion)
    assert counts["images"].shape == (8, 3, CLASSES)
    tp = np.diag(confusion)
    np.testing.assert_array_equal(counts["images"].sum(0), [tp, confusion.sum(0) - tp, confusion.sum(1) - tp])
    of_truth = [(batch["label"] == c).sum((1, 2)) for c in range(CLASSES)]
    np.testing.assert_array_equal(counts["images"][:, 0] + counts["images"][:, 2], np.transpose(of_truth))
    assert counts["totals"].shape == counts["weights"].shape == (1,)
    assert float(counts["totals"][0]) == pytest.approx(total, rel=1e-5)
    assert float(counts["weights"][0]) == confusion.sum()


def test_padding_with_ignored_examples_changes_no_count(small, compiled):
    # In evaluation examples do not see each other, so whatever lies in the padding of the last batch is nothing.
    _, eval_step, state = compiled
    weights = on_device(small, (state.params, state.model_state))
    batch = photographs(8, SIZE)
    batch["label"][5:] = IGNORE
    other = {**batch, "image": batch["image"].copy()}
    other["image"][5:] = photographs(8, SIZE, seed=9)["image"][5:]
    one, two = (eval_step(*weights, sharding.place(b, small.mesh)) for b in (batch, other))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert int(one["confusion"].sum()) == (batch["label"] != IGNORE).sum()


@pytest.mark.parametrize("size", [(32, 32), (13, 21)])
def test_predict_gives_probabilities(small, compiled, size):
    state = compiled[2]
    image = photographs(2, size)["image"]
    p = small.predict()(*on_device(small, (state.params, state.model_state)), image)
    assert p.shape == (2, *size, CLASSES) and p.dtype == jnp.float32
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(p, np.exp(log_softmax(logits_of(small, state, image))), rtol=1e-4, atol=1e-6)


def test_a_binary_head_is_one_logit(tiny_config):
    config = pretrained.resolve(tiny_config({"loss.head": "binary"}))
    built = program.Functions(config, classes=2, mesh=sharding.make_mesh(1))
    state = built.init()
    assert state.params["decoder"]["head"]["kernel"].shape[-1] == 1
    image = photographs(2)["image"]
    logits = logits_of(built, state, image)
    assert logits.shape == (2, 6, 5, 2)
    np.testing.assert_array_equal(logits[..., 0], 0)
    p = built.predict()(state.params, state.model_state, image)
    np.testing.assert_allclose(p[..., 1], 1 / (1 + np.exp(-logits[..., 1])), rtol=1e-4)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-6)


def test_sigmoid_heads_predict_each_class_by_itself(small, compiled):
    state = compiled[2]
    config = small.config.copy()
    config.update_from_flattened_dict({"loss.head": "sigmoid", "eval.threshold": 0.5})
    built = program.Functions(config, classes=CLASSES, mesh=small.mesh)
    batch = photographs(8, SIZE)
    weights = on_device(small, (state.params, state.model_state))
    p = 1 / (1 + np.exp(-logits_of(small, state, batch["image"])))
    np.testing.assert_allclose(built.predict()(*weights, batch["image"]), p, rtol=1e-4, atol=1e-6)
    counts = built.eval_step(SIZE).compile()(*weights, sharding.place(batch, small.mesh), ())
    found, true = p > 0.5, batch["label"][..., None] == np.arange(CLASSES)
    np.testing.assert_array_equal(counts["above"][0], (found & true).sum((0, 1, 2)))
    assert int(counts["weights"][0]) == CLASSES * (batch["label"] != IGNORE).sum()
