"""Seconds to a quality: the arithmetic by hand, and a training of two evaluations."""

import json

import pytest

from benchmarks import time_to_quality
from benchmarks.time_to_quality import covered, reached
from tests.runs import QUIET, TINY

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def test_spans_that_overlap_count_once():
    spans = [(12.0, 14.0), (10.0, 13.0), (13.5, 13.6), (20.0, 30.0), (5.0, 10.5)]
    assert covered(spans, begin=10.0, until=100.0) == pytest.approx(4 + 10)
    assert covered(spans, begin=10.0, until=22.0) == pytest.approx(4 + 2)
    assert covered(spans, begin=11.0, until=12.5) == pytest.approx(1.5)
    assert covered([], begin=0.0, until=9.0) == 0


def test_the_first_evaluation_that_is_good_enough_counts():
    lines = [
        {"step": 5, "time": 103.0, "train/loss": 1.0},
        {"step": 10, "time": 110.0, "val/miou": None},
        {"step": 15, "time": 115.0, "val/miou": 0.0},
        {"step": 20, "time": 120.0, "val/miou": 0.62},
        {"step": 30, "time": 130.0, "val/miou": 0.59},
        {"step": 40, "time": 140.0, "val/miou": 0.7},
    ]
    rows = reached(lines, "val/miou", [0.0, 0.6, 0.65, 0.7, 0.75], [(101.0, 105.0), (125.0, 126.0)], begin=100.0)
    assert rows == [
        {"target": 0.0, "step": 15, "seconds": 11.0, "compile_s": 4.0},
        {"target": 0.6, "step": 20, "seconds": 16.0, "compile_s": 4.0},
        {"target": 0.65, "step": 40, "seconds": 35.0, "compile_s": 5.0},
        {"target": 0.7, "step": 40, "seconds": 35.0, "compile_s": 5.0},
        {"target": 0.75, "step": None, "seconds": None, "compile_s": None},
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_training_is_timed_and_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(time_to_quality, "RESULTS", tmp_path)
    short = ["train.steps=2", "eval.every_steps=1", "log.every_steps=1", "optim.warmup_steps=0"]
    short += ["train.batch_size=8", "eval.batch_size=8"]  # for eight virtual devices
    tiny = [flag for flag in TINY if flag.removeprefix("--config.").split("=")[0] not in str(short)]
    arguments = [
        *tiny,
        *(f"--config.{field}" for field in short),
        QUIET,
        "--targets=2,0.0",
        "--name=tiny",
        f"--workdir={tmp_path / 'run'}",
    ]
    assert time_to_quality.main(arguments) == 0
    found = json.loads((tmp_path / "time_tiny.json").read_text())
    low, high = found["targets"]
    assert (low["target"], low["step"], high["step"]) == (0.0, 1, None)
    assert low["seconds"] > 0 and 0 < low["compile_s"] <= found["compile_s"]
    assert low["seconds"] + low["compile_s"] < found["cost"]["seconds"] + 60
    assert found["metric"] == "val/miou" and found["cost"]["steps"] == 2 and 0 <= found["best"] <= 1
    assert "2.00" in (printed := capsys.readouterr().out) and "not reached" in printed
    assert time_to_quality.main(arguments) == 1
    assert "holds a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--targets=a"], "--targets=a: they are numbers"),
        (["--name=../x"], "--name=../x: a name has"),
        (["nonsense"], "unknown argument 'nonsense'"),
        (["--config.optim.lrr=1"], "lrr"),
        (["--config.checkpoint.metric=loss"], "falls"),
    ],
)
def test_wrong_use(arguments, words, capsys):
    assert time_to_quality.main(["--config=synthetic_unet", *arguments]) == 1
    assert words in capsys.readouterr().err
