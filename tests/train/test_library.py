"""seg_jax.train: one call for data, losses and callbacks from Python, and what a resumed call has to be like."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seg_jax
import seg_jax.train.loop
from seg_jax import losses
from seg_jax.config import ConfigError
from seg_jax.config.default import get_config
from seg_jax.train import library
from tests.conftest import REPOSITORY

FIELDS = {
    **{"model.encoder.width": 2, "model.encoder.depth": 1, "train.batch_size": 8, "eval.batch_size": 8},
    **{"train.steps": 4, "eval.every_steps": 2, "log.tensorboard": False},
}
LABELS = np.random.default_rng(0).integers(0, 3, (8, 16, 16))
IMAGES = np.repeat(LABELS[..., None] * 80, 3, -1).astype(np.uint8)


def confident(logits, label):
    """By hand: the mean over pixels of 1 - the largest probability."""
    return (1 - jax.nn.softmax(logits).max(-1)).mean()


DATA = {"train": (IMAGES, LABELS), "val": list(zip(IMAGES, LABELS, strict=True)), "classes": ("a", "b", "c")}
OWN = {"confident": (0.5, confident)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(run directory, steps seen, reports seen, last state) of a short training with everything from Python."""
    steps, reports = [], []
    workdir = tmp_path_factory.mktemp("library") / "run"
    seen = {
        "on_step": lambda *arguments: steps.append(arguments),
        "on_evaluate": lambda *arguments: reports.append(arguments),
    }
    state = seg_jax.train(FIELDS, str(workdir), **DATA, losses=OWN, **seen)
    return workdir, steps, reports, state


def test_the_module_is_the_function():
    assert seg_jax.train is sys.modules["seg_jax.train"] and callable(seg_jax.train)
    assert seg_jax.train.loop.train_and_evaluate is not None


def test_callbacks_see_every_step_and_evaluation(run):
    workdir, steps, reports, state = run
    assert [step for step, _ in steps] == [1, 2, 3, 4] and int(state.step) == 4
    assert {"loss", "loss/cross_entropy", "loss/confident", "grad_norm", "lr"} <= set(steps[0][1])
    for _, metrics in steps:
        assert metrics["loss"] == pytest.approx(metrics["loss/cross_entropy"] + 0.5 * metrics["loss/confident"])
    assert [step for step, _ in reports] == [2, 4]
    best = max(report.scores["miou"] for _, report in reports)
    assert json.loads((workdir / "report.json").read_text())["scores"]["miou"] == pytest.approx(best)


def test_the_run_is_like_any_other(run):
    workdir, *_ = run
    recorded = json.loads((workdir / "config.json").read_text())
    assert recorded["data"]["source"] == "python" and recorded["loss"]["own"] == [["confident", 0.5]]
    assert seg_jax.Predictor.load(workdir)(IMAGES[0]).table.names == ("a", "b", "c")


def test_a_finished_run_resumes_with_the_same_call(run):
    workdir, _, _, state = run
    again = seg_jax.train(FIELDS, workdir, **DATA, losses=OWN, on_step=lambda *_: pytest.fail("nothing is left"))
    assert int(again.step) == 4
    assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (again.params, state.params)), strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": None}, r"config.loss.own: now \(\), there \(\('confident', 0.5\),\)"),
        ({"losses": {"confident": (1, confident)}}, r"config.loss.own: now \(\('confident', 1.0\),\)"),
        ({"train": (IMAGES[::-1], LABELS[::-1])}, r"the examples of the split 'train' \(now 8\) are not those"),
        ({"val": (IMAGES[:4], LABELS[:4])}, r"the examples of the split 'val' \(now 4\) are not those"),
        ({"classes": ("a", "b", "d")}, "the label table of the data has changed"),
        ({"train": None, "val": None, "classes": None}, r"config.data.source: now 'synthetic', there 'python'"),
        ({"val": None}, "seg_jax.train has no val. Data from Python are train=, val= and classes= together"),
        ({"val": None, "classes": None}, "seg_jax.train has no val and no classes"),
        ({"losses": {"dice": (1.0, confident)}}, "losses={'dice': ...}: a loss of this package has that name"),
        ({"losses": {"x": (0, confident)}}, r"config.loss.own = \(\('x', 0.0\),\): a loss has a positive weight"),
    ],
)
def test_what_a_run_cannot_be_resumed_with(run, changes, message):
    with pytest.raises(ConfigError, match=message):
        seg_jax.train(FIELDS, run[0], **({**DATA, "losses": OWN} | changes))


def test_the_command_line_says_what_it_lacks(run):
    """In a process of its own, as a user would."""
    command = [sys.executable, "-m", "seg_jax", "eval", f"--workdir={run[0]}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "handed to seg_jax.train" in done.stderr or "config.loss.own" in done.stderr


def test_configurations():
    config = get_config()
    config.optim.lr = 0.5
    made = library._configuration(config)
    made.optim.lr = 0.1
    assert config.optim.lr == 0.5  # the caller's is not changed
    nested = library._configuration({"optim": {"lr": 0.25}, "model.name": "fpn", "seed": 3})
    assert (nested.optim.lr, nested.model.name, nested.seed) == (0.25, "fpn", 3)
    with pytest.raises(ConfigError, match=r"has no field \"learning_rate\""):
        library._configuration({"optim.learning_rate": 1.0})


def test_losses_of_a_program():
    """Means count once for each batch; values with weights are averaged over all batches."""
    config = get_config().loss
    config.weights.cross_entropy, config.own = 0.0, (("mean", 2.0), ("pixels", 1.0))
    own = {"mean": lambda logits, label: logits.mean(), "pixels": lambda logits, label: (logits[..., 0], label != 255)}
    objective = losses.build(config, own=own)
    logits = jnp.arange(8.0).reshape(1, 2, 2, 2)
    label = jnp.asarray([[[0, 255], [1, 255]]])
    totals, weights = objective(logits, label)
    np.testing.assert_allclose(totals, [3.5, 0 + 4])
    np.testing.assert_allclose(weights, [1, 2])
    value, means = objective.value(totals, weights)
    assert float(value) == 2 * 3.5 + 2 and float(means["pixels"]) == 2
    with pytest.raises(ConfigError, match=r"the loss 'pixels' is a function of the Python program .* losses={'pixels'"):
        losses.build(config, own={"mean": own["mean"]})
    with pytest.raises(ConfigError, match=r"the loss 'mean' gives an array of shape \(1, 2, 2, 2\). Return its mean"):
        losses.build(config, own=own | {"mean": lambda logits, label: logits})(logits, label)
