"""Logits looked at one example after the other: the same figures, and less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax import losses, metrics, models
from seg_jax.config import default
from seg_jax.run import cost, pretrained, program
from seg_jax.runtime import sharding
from seg_jax.steps import look

B, SIZE, K = 4, (13, 10), 5
SPLIT = {"cross_entropy", "focal", "ohem", "dice", "jaccard", "tversky", "distillation"}
RNG = np.random.default_rng(0)
COARSE = RNG.normal(size=(B, 4, 3, K)).astype(np.float32)
TEACHER = RNG.normal(size=(B, *SIZE, K)).astype(np.float32)
LABEL = RNG.integers(0, K + 1, (B, *SIZE)).astype(np.uint8)
LABEL[LABEL == K] = 255


def configured(**fields):
    config = default.get_config()
    config.update_from_flattened_dict({"model.name": "segformer", "model.encoder.width": 4, **fields})
    config.update_from_flattened_dict({"model.encoder.depth": 3, "model.channels": 4, "augment.flip": 0.0})
    return pretrained.resolve(config)


def looked_at(config, classes, large, monkeypatch):
    """A function of coarse logits -> (loss, confusion matrices) and how many matrices there are."""
    monkeypatch.setattr(look, "LARGE", large)
    network, objective = models.build(config, classes=classes), losses.build(config.loss)

    def of(coarse):
        seen, counts = look.look(
            network,
            objective,
            {"logits": coarse, "aux": -coarse},
            jnp.asarray(LABEL),
            jnp.asarray(TEACHER) if config.loss.weights.distillation else None,
            count=metrics.confusion_of_logits,
            groups=2,
        )
        return sum(objective.value(*objective.judged(part))[0] for part in seen.values()), counts

    return jax.jit(jax.value_and_grad(of, has_aux=True))


def test_losses_that_need_not_see_a_batch_at_once():
    names = {name for name, loss in losses.LOSSES.items() if isinstance(loss(default.get_config().loss), losses.Split)}
    assert names == SPLIT


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("name", sorted(SPLIT))
def test_one_after_the_other_is_all_at_once(name, head, monkeypatch):
    fields = {"loss.weights.cross_entropy": 0.0, f"loss.weights.{name}": 1.0, "loss.head": head}
    fields["loss.teacher"] = "a run" if name == "distillation" else ""
    config = configured(**fields, **{"loss.class_weights": (1.0, 2.0, 0.5, 1.0, 3.0)})
    (loss, counts), gradient = looked_at(config, K, 0, monkeypatch)(COARSE)
    (expected, matrices), slope = looked_at(config, K, 2**60, monkeypatch)(COARSE)
    assert loss == pytest.approx(float(expected), rel=1e-6) and loss > 0
    np.testing.assert_array_equal(counts, matrices)
    assert counts.shape == (B, K, K) and counts.sum() == (LABEL < K).sum()
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-8)


def test_a_loss_of_a_batch_is_looked_at_whole(monkeypatch):
    config = configured(**{"loss.weights.lovasz": 1.0})
    (loss, _), _ = looked_at(config, K, 0, monkeypatch)(COARSE)
    (expected, _), _ = looked_at(config, K, 2**60, monkeypatch)(COARSE)
    assert loss == expected


def steps(classes, large, monkeypatch):
    """A training and an evaluation step with images of 256x256, whose logits have an eighth of that size."""
    monkeypatch.setattr(look, "LARGE", large)
    config = configured(**{"model.name": "fcn32s", "train.batch_size": 8, "eval.batch_size": 8})
    functions = program.Functions(config, classes=classes, mesh=sharding.make_mesh(1))
    return functions.train_step((256, 256)), functions.eval_step((256, 256))


def test_many_classes_take_less_memory(monkeypatch):
    own = look.LARGE
    whole, apart = steps(150, 2**60, monkeypatch), steps(150, 0, monkeypatch)
    assert [step.as_text() for step in steps(150, own, monkeypatch)] == [step.as_text() for step in apart]
    logits = 8 * 256 * 256 * 150 * 4
    for together, one, arrays in zip(whole, apart, (3, 1), strict=True):
        bytes_together, bytes_of_one = (cost.peak_memory(step.compile()) for step in (together, one))
        assert bytes_together > arrays * logits
        assert 3 * bytes_of_one < bytes_together


def test_few_classes_are_looked_at_at_once(monkeypatch):
    own = look.LARGE
    texts = [[step.as_text() for step in steps(4, large, monkeypatch)] for large in (own, 2**60, 0)]
    assert texts[0] == texts[1] != texts[2]
