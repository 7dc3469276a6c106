"""Objectives in training: several losses at once, distillation from another run."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from seg_jax.config import ConfigError, load
from seg_jax.evaluate.stored import evaluate_checkpoint
from seg_jax.predict.predictor import Predictor
from seg_jax.run import program
from seg_jax.runtime import sharding
from seg_jax.train.loop import train_and_evaluate
from tests.runs import CLASSES, lines, manifest


def predicted(run, state, folder):
    """(probabilities [n k], classes [n]) of every pixel of the validation split, after the last step of a run."""
    functions = program.Functions(load(run / "config.json"), classes=3, mesh=sharding.make_mesh(1))
    images, masks = (
        np.stack([np.asarray(Image.open(path)) for path in sorted((folder / name).iterdir())])
        for name in ("val", "valannot")
    )
    weights = sharding.to_devices(state.weights(averaged=False), functions.mesh)
    p = functions.predict()(weights["params"], weights["model_state"], images)
    return np.float64(p).reshape(-1, 3), masks.reshape(-1)


def test_several_losses(config_for, folder, tmp_path):
    weights = {"cross_entropy": 0.5, "dice": 2.0}
    run = tmp_path / "run"
    state = train_and_evaluate(
        config_for(**{f"loss__weights__{name}": weight for name, weight in weights.items()}, eval__every_steps=0), run
    )
    # Each is logged.
    total = dict(lines(run, "train/loss"))
    assert total.keys() == {2, 4}
    for step, value in total.items():
        each = {name: dict(lines(run, f"train/loss/{name}"))[step] for name in weights}
        assert value == pytest.approx(sum(weights[name] * each[name] for name in weights), rel=1e-5)
    # Evaluation, here of one batch, reports their sum.
    p, label = predicted(run, state, folder)
    truth = label[:, None] == np.arange(3)
    dice = 1 - 2 * (p * truth).sum(0) / (p.sum(0) + truth.sum(0))
    expected = 0.5 * -np.log(p[truth]).mean() + 2 * dice.mean()
    report = json.loads((run / "report.json").read_text())
    assert report["scores"]["loss"] == pytest.approx(expected, rel=1e-4)
    assert report["protocol"]["loss_weights"] == weights
    # Another kind of head is another network.
    other = load(run / "config.json").copy()
    other.loss.head = "binary"
    with pytest.raises(ConfigError, match=r"trained with another network:\n  config\.loss\.head: now 'binary'"):
        evaluate_checkpoint(other, run, "last")


@pytest.fixture
def teacher(config_for, tmp_path):
    """(run, state) of another network with its own normalisation."""
    config = config_for(model__encoder__width=6, data__mean=(0.4, 0.5, 0.6), data__std=(0.2, 0.3, 0.4))
    config.update_from_flattened_dict({"model.norm": "group", "eval.every_steps": 0, "optim.lr": 1e-2})
    return tmp_path / "teacher", train_and_evaluate(config, tmp_path / "teacher")


@pytest.mark.slow
def test_distillation(config_for, folder, teacher, tmp_path):
    taught_by, teacher_state = teacher
    weights = {"loss__weights__cross_entropy": 0.0, "loss__weights__distillation": 1.0}
    weights |= {"loss__teacher": str(taught_by), "loss__temperature": 1.0}
    config = config_for(**weights, train__steps=12, eval__every_steps=3, optim__lr=1e-2, model__norm="group")
    run = tmp_path / "student"
    state = train_and_evaluate(config, run)
    divergence = [value for _, value in lines(run, "val/loss")]
    assert 0 < divergence[-1] < 0.7 * divergence[0], divergence
    # It is the divergence of what both networks say of the validation images.
    (q, _), (p, _) = predicted(taught_by, teacher_state, folder), predicted(run, state, folder)
    assert divergence[-1] == pytest.approx((q * np.log(q / p)).sum(-1).mean(), rel=1e-3)

    # Going on gives the same bits, and needs the teacher.
    shutil.copytree(run, tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "12")
    train_and_evaluate(config, tmp_path / "resumed")
    assert manifest(tmp_path / "resumed", 12) == manifest(run, 12)
    away = taught_by.rename(tmp_path / "away")
    with pytest.raises(ConfigError, match=r"loss\.teacher = .*also to resume a run.*Bring it back"):
        train_and_evaluate(config, run)
    assert Predictor.load(run).table.names == tuple(CLASSES)  # prediction does not
    away.rename(taught_by)

    # A teacher with probabilities of another kind, or of other classes, has nothing to say.
    sigmoid = config_for(**weights, loss__head="sigmoid")
    with pytest.raises(
        ConfigError, match=r"its loss\.head is 'softmax', .* 'sigmoid'.*Use --config\.loss\.head=softmax"
    ):
        train_and_evaluate(sigmoid, tmp_path / "sigmoid")
    (folder / "class_names.json").write_text(json.dumps(["left", "right", "bottom"]))
    with pytest.raises(ConfigError, match=r"it knows the classes .*'top'.* the data has .*'bottom'"):
        train_and_evaluate(config, tmp_path / "other")
