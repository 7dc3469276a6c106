"""Several networks trained in one program: each as if it were alone, together better."""

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax import data, models
from seg_jax.config import ConfigError, checked, with_fields
from seg_jax.evaluate.evaluator import Evaluator
from seg_jax.losses import heads
from seg_jax.metrics import bootstrap
from seg_jax.models import WeightsError
from seg_jax.predict import windows
from seg_jax.predict.predictor import Predictor
from seg_jax.run import pretrained, program
from seg_jax.run.checkpoint import Checkpoints
from seg_jax.runtime import sharding
from seg_jax.train.loop import train_and_evaluate
from tests.runs import lines, manifest


def weights(run, step):
    return Checkpoints(run / "checkpoints").arrays(step)


@pytest.fixture
def together(config_for, tmp_path):
    train_and_evaluate(config_for(seed=5, train__seeds=2, optim__ema=0.9), tmp_path / "together")
    return tmp_path / "together"


@pytest.mark.slow
def test_each_is_what_it_would_be_alone(config_for, together, tmp_path):
    both = weights(together, 4)
    losses = []
    for i in range(2):
        run = tmp_path / f"alone{i}"
        train_and_evaluate(config_for(seed=5 + i, optim__ema=0.9), run)
        alone = weights(run, 4)
        assert both.keys() == alone.keys()
        for name, array in alone.items():
            assert np.allclose(both[name][i], array, rtol=1e-3, atol=1e-5), name
        losses.append(dict(lines(run, "train/loss"))[4])
    assert dict(lines(together, "train/loss"))[4] == pytest.approx(np.mean(losses), rel=1e-3)


@pytest.mark.slow
def test_report_resume_prediction_and_start(config_for, together, tmp_path):
    block = json.loads((together / "report.json").read_text())["seeds"]
    assert block["seeds"] == [5, 6]
    values = block["miou"]["values"]
    assert block["miou"]["mean"] == pytest.approx(np.mean(values))
    assert block["miou"]["deviation"] == pytest.approx(abs(values[0] - values[1]) / np.sqrt(2))
    interval = block["miou"]["interval"]
    assert interval["low"] <= block["miou"]["mean"] <= interval["high"]

    shutil.copytree(together, tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "4")
    train_and_evaluate(config_for(seed=5, train__seeds=2, optim__ema=0.9), tmp_path / "resumed")
    assert manifest(tmp_path / "resumed", 4) == manifest(together, 4)

    predictor = Predictor.load(together, checkpoint="4")
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    found = predictor(image, probabilities=True).probabilities
    config = pretrained.resolve(config_for(seed=5, train__seeds=2))
    alone = program.Functions(config, classes=3, mesh=sharding.make_mesh(1)).alone()
    like = program.Functions(config, classes=3, mesh=sharding.make_mesh(1)).abstract_state.weights(averaged=False)
    both = Checkpoints(together / "checkpoints").weights(4, like)
    each = [
        alone.predict()(*jax.tree.map(lambda a, i=i: a[i], (both["params"], both["model_state"])), image[None])[0]
        for i in range(2)
    ]
    assert np.allclose(found, np.mean(each, axis=0), atol=1e-5) and np.abs(each[0] - each[1]).max() > 1e-3

    with pytest.raises(WeightsError, match=r"holds 2 networks \(train\.seeds\)"):
        train_and_evaluate(config_for(model__encoder__weights=str(together)), tmp_path / "new")


def test_members_are_scored_in_windows_where_all_are(tiny_config, monkeypatch):
    fields = {"train.seeds": 2, "data.size": (32, 48), "data.synthetic.val_scenes": 2, "eval.window": (32, 32)}
    config = pretrained.resolve(tiny_config(fields))
    monkeypatch.setattr(program.Functions, "eval_step", None)  # for whole images
    examples = data.load(config, "val")
    functions = program.Functions(config, classes=len(examples.table), mesh=sharding.make_mesh(1))
    submitting = with_fields(config, {"eval.submission": "directory", "eval.resolution": "original"})
    alone = replace(functions, config=submitting).alone()
    assert alone.config.eval.submission == ""  # what is submitted is what all see together
    weights = functions.init().weights(averaged=False)
    found = Evaluator(functions, examples)(**weights, step=0, detailed=True).sections["seeds"]["pixel_accuracy"]
    alone = functions.alone()
    for i, value in enumerate(found["values"]):
        mine = jax.tree.map(lambda array, i=i: array[i], weights)
        right = 0
        for image, label in map(examples.read, range(2)):
            tiles = windows.slide(
                lambda tiles, mine=mine: np.asarray(alone.predict()(**mine, image=tiles)),
                image,
                window=(32, 32),
                overlap=config.eval.overlap,
                batch=1,
            )
            seen = np.concatenate([band for _, band in tiles]).argmax(-1)
            right += (seen == label).sum()
        assert value == right / (2 * 32 * 48)
    assert found["values"][0] != found["values"][1]


@pytest.mark.parametrize("head", heads.HEADS)
def test_logits_of_an_ensemble_are_those_of_the_mean_probabilities(tiny_config, head):
    config = pretrained.resolve(tiny_config({"loss.head": head, "train.seeds": 3}))
    functions = program.Functions(config, classes=2, mesh=sharding.make_mesh(1))
    assert isinstance(functions.model, models.Ensemble)
    state = functions.init()
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 32, 32, 3)), jnp.float32)

    def probabilities(model, params, model_state):
        outputs, _ = models.forward(model, params, model_state, image, train=False)
        return heads.probabilities(outputs["logits"], head=head)

    found = jax.jit(lambda *arrays: probabilities(functions.model, *arrays))(state.params, state.model_state)
    one = jax.jit(lambda *arrays: probabilities(functions.network, *arrays))
    each = [one(*jax.tree.map(lambda a, i=i: a[i], (state.params, state.model_state))) for i in range(3)]
    assert np.allclose(found, np.mean(each, axis=0), atol=1e-6)
    assert not np.allclose(each[0], each[1])


def test_the_interval_of_equal_members_is_that_of_one():
    counts = np.random.default_rng(0).integers(0, 50, (12, 3, 4))
    assert bootstrap.interval_of_mean([counts, counts]) == bootstrap.interval(counts)


def test_several_steps_and_several_networks_are_refused(tiny_config):
    with pytest.raises(ConfigError, match="several steps or several networks"):
        checked(tiny_config({"train.seeds": 2, "train.steps_per_dispatch": 4}))
