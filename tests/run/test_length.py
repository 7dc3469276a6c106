"""The length of a run: epochs, evaluations and parts by hand; then runs that are made longer."""

import json
import shutil

import pytest

from seg_jax.config import ConfigError, load
from seg_jax.run import length
from seg_jax.run.directory import RunDirectory
from seg_jax.run.length import Length
from seg_jax.train.loop import train_and_evaluate
from tests.runs import lines, manifest


def test_a_plan_by_hand(tiny_config):
    config = tiny_config({"train.epochs": 2.5, "eval.every_epochs": 0.5, "finetune.freeze_epochs": 1.0})
    assert length.plan(config, examples=32) == Length(steps=10, every=2, frozen=4)  # 4 batches of 8 are an epoch
    config = tiny_config({"train.steps": 9, "train.extended_at": (4, 7), "eval.every_steps": 3})
    plan = length.plan(config, examples=32)
    assert plan == Length(9, 3, 0, (4, 7)) and plan.ends == (0, 4, 7, 9)
    assert [step for step in range(1, 10) if plan.evaluates(step)] == [3, 4, 6, 7, 9]
    config = tiny_config({"train.steps": 9, "eval.every_epochs": 0.0, "finetune.freeze": True})
    assert length.plan(config, examples=32) == Length(9, 9, 9)


@pytest.mark.parametrize("parts", [(0,), (9,), (10,), (7, 4), (4, 4), (-1,)])
def test_parts_are_within_the_run(tiny_config, parts):
    config = tiny_config({"train.steps": 9, "train.extended_at": parts})
    with pytest.raises(ConfigError, match=r"train\.extended_at = .*within the run of 9 steps, in rising order"):
        length.plan(config, examples=32)


def test_a_warmup_fits_into_every_part(tiny_config):
    config = tiny_config({"train.steps": 9, "train.extended_at": (6,), "optim.warmup_steps": 3})
    with pytest.raises(ConfigError, match=r"optim\.warmup_steps = 3: .* the shortest after 3 steps"):
        length.plan(config, examples=32)
    config.optim.warmup_steps = 2
    assert length.plan(config, examples=32).restarts == (6,)


# ----- runs that are made longer

OFTEN = {"checkpoint__every_steps": 1, "checkpoint__keep_last": 8, "log__every_steps": 1}


def cut(source, target, step):
    """A copy of a run directory as it was after `step`."""
    shutil.copytree(source, target)
    for path in (target / "checkpoints").iterdir():
        if int(path.name) > step:
            shutil.rmtree(path)


@pytest.mark.slow
def test_a_new_schedule_begins_where_the_old_one_ended(config_for, tmp_path):
    fields = {**OFTEN, "optim__lr": 0.01, "optim__schedule": "cosine", "optim__warmup_steps": 1}
    run = tmp_path / "run"
    train_and_evaluate(config_for(**fields), run)
    cut(run, tmp_path / "interrupted", 2)
    longer = config_for(**fields, train__steps=8, train__extend=True)
    assert int(train_and_evaluate(longer, run).step) == 8
    # A step of warm-up, then (1 + cos(pi t / 3)) / 2 for t = 0, 1, 2; and once more.
    rates = [rate for _, rate in lines(run, "train/lr")]
    assert rates == pytest.approx([0.01 * factor for factor in (1, 1, 0.75, 0.25) * 2], rel=1e-6)
    recorded = load(run / "config.json")
    assert recorded.train.extended_at == (4,) and recorded.train.steps == 8
    facts = json.loads((run / "run.json").read_text())
    assert (facts["steps"], facts["extended_at"]) == (8, [4])

    # Interrupted in the new part, or before it begins, the same command gives the same bits.
    cut(run, tmp_path / "resumed", 6)
    for name in ("resumed", "interrupted"):
        train_and_evaluate(longer, tmp_path / name)
        assert manifest(tmp_path / name, 8) == manifest(run, 8)
        assert lines(tmp_path / name, "train/loss") == lines(run, "train/loss")
        assert load(tmp_path / name / "config.json").to_dict() == recorded.to_dict()
    # So does the recorded configuration from the beginning.
    train_and_evaluate(recorded, tmp_path / "anew")
    assert manifest(tmp_path / "anew", 8) == manifest(run, 8)
    # And the command without the flag changes nothing, now that it is as long as recorded.
    train_and_evaluate(config_for(**fields, train__steps=8), run)
    assert load(run / "config.json").train.extended_at == (4,)


def test_a_rate_that_would_jump_is_refused(config_for, tmp_path):
    run = RunDirectory(tmp_path / "run")
    train_and_evaluate(config_for(optim__schedule="cosine"), run.path)
    before = run.config_file.read_text(), run.metrics_file.read_text()
    for fields in ({"train__steps": 6}, {"train__steps": 3}, {"train__steps": 0, "train__epochs": 50.0}):
        with pytest.raises(ConfigError, match=r"a run of another length:\n  config\.train\.") as error:
            train_and_evaluate(config_for(optim__schedule="cosine", **fields), run.path)
        for words in ("optim.schedule=cosine", "would jump", "--config.train.extend=True"):
            assert words in str(error.value)
        assert str(error.value).endswith(f"with --workdir=NEW --config.model.weights={run}.")
    with pytest.raises(ConfigError, match="can get longer, not shorter"):
        train_and_evaluate(config_for(optim__schedule="cosine", train__steps=3, train__extend=True), run.path)
    # Nothing else may change with the length.
    with pytest.raises(ConfigError, match=r"config\.optim\.lr: now 0\.5"):
        train_and_evaluate(config_for(optim__schedule="cosine", train__steps=6, optim__lr=0.5), run.path)
    assert (run.config_file.read_text(), run.metrics_file.read_text()) == before


@pytest.mark.slow
def test_a_schedule_without_an_end_carries_on(config_for, tmp_path):
    fields = {"optim__schedule": "constant", "optim__warmup_steps": 2}
    train_and_evaluate(config_for(**fields, train__steps=6), tmp_path / "whole")
    for steps in (4, 6):
        train_and_evaluate(config_for(**fields, train__steps=steps), tmp_path / "longer")
    assert manifest(tmp_path / "longer", 6) == manifest(tmp_path / "whole", 6)
    assert load(tmp_path / "longer" / "config.json").train.extended_at == ()
    with pytest.raises(
        ConfigError, match=r"a run of 6 steps:\n  config\.train\.steps: now 4, there 6\nIt can get longer"
    ):
        train_and_evaluate(config_for(**fields, train__steps=4), tmp_path / "longer")


# With so small a rate only the first evaluation is a gain.
STUCK = {**OFTEN, "optim__schedule": "plateau", "optim__patience": 1, "optim__factor": 0.5, "optim__lr": 1e-12}


@pytest.mark.slow
def test_a_plateau_lasts_or_begins_anew(config_for, tmp_path):
    fields = {**STUCK, "eval__every_steps": 1}
    train_and_evaluate(config_for(**fields), tmp_path / "lasts")
    cut(tmp_path / "lasts", tmp_path / "anew", 4)
    ends = {"lasts": (0.125, 0.0625), "anew": (1, 0.5)}
    for name, last in ends.items():
        train_and_evaluate(config_for(**fields, train__steps=6, train__extend=name == "anew"), tmp_path / name)
        rates = [rate * 1e12 for _, rate in lines(tmp_path / name, "train/lr")]
        assert rates == pytest.approx([1, 1, 0.5, 0.25, *last])


@pytest.mark.slow
def test_a_run_that_stopped_early_needs_a_new_schedule(config_for, tmp_path):
    fields = {**STUCK, "optim__schedule": "constant", "early_stop__patience": 1, "model__norm": "group"}
    assert int(train_and_evaluate(config_for(**fields, train__steps=40), tmp_path / "run").step) == 4
    with pytest.raises(ConfigError, match=r"stopped early at step 4 .*early_stop\.patience = 1.*train\.extend=True"):
        train_and_evaluate(config_for(**fields, train__steps=44), tmp_path / "run")
    longer = config_for(**fields, train__steps=44, train__extend=True)
    for _ in range(2):  # the patience of the new part, once
        assert int(train_and_evaluate(longer, tmp_path / "run").step) == 6
        assert load(tmp_path / "run" / "config.json").train.extended_at == (4,)
