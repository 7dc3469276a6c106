"""Scores on training batches, from one log line or evaluation to the next."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax.run.directory import RunDirectory
from seg_jax.train.clock import Clock
from seg_jax.train.health import Health
from seg_jax.train.scores import TrainingScores


def health_of(*batches):
    """A Health that has finished programs with these counts [3 k], or [n 3 k] of n steps."""
    health = Health(skip=False, clock=Clock(1), diverged=AssertionError)
    for step, counts in enumerate(batches):
        losses = jnp.zeros(len(counts) if np.ndim(counts) == 3 else ())
        health.started(step, {"loss": losses, "counts": jnp.asarray(counts, jnp.int32)})
    health.settle()
    return health


def test_counts_are_added_up_beyond_32_bits():
    most = np.full((3, 2), 2**31 - 1)
    health = health_of(most, [most, most])
    assert health.counts.dtype == np.int64 and (health.counts == 3 * (2**31 - 1)).all()


def test_each_reader_has_its_own_beginning():
    health = health_of([[3, 0], [1, 0], [0, 1]])  # IoU 3/4 and 0, 3 of 4 pixels right
    seen = TrainingScores(health, ("sky", "road"), {})
    assert seen.logged() == {"miou": 0.375, "pixel_accuracy": 0.75} and seen.note == "train mIoU 0.375"
    assert seen.logged() == {} and seen.note == "train mIoU 0.375"
    health.started(2, {"loss": jnp.zeros(()), "counts": jnp.array([[5, 4], [0, 0], [0, 0]], jnp.int32)})
    health.settle()
    assert seen.logged() == {"miou": 1.0, "pixel_accuracy": 1.0}
    section = seen.section()["train"]
    assert section["iou"] == {"sky": pytest.approx(8 / 9), "road": pytest.approx(4 / 5)}
    assert section["pixel_accuracy"] == pytest.approx(12 / 13)
    assert seen.section() == {}


def test_a_resumed_run_counts_what_was_not_reported_before():
    names = ("sky", "road")
    before = TrainingScores(health_of([[3, 0], [1, 0], [0, 1]]), names, {})
    before.logged()
    kept = json.loads(json.dumps(before.unreported()))
    after = TrainingScores(health_of([[5, 4], [0, 0], [0, 0]]), names, kept)
    assert after.logged() == {"miou": 1.0, "pixel_accuracy": 1.0}  # the log line had the first step already
    assert after.section()["train"]["pixel_accuracy"] == pytest.approx(12 / 13)
    nothing_new = TrainingScores(health_of(), names, kept)
    assert nothing_new.logged() == {} and nothing_new.section()["train"]["pixel_accuracy"] == 0.75
    assert nothing_new.unreported() == {"log": [[0, 0]] * 3, "evaluation": [[0, 0]] * 3}


def test_a_run_writes_them_everywhere(trained_run):
    run = RunDirectory(trained_run)
    report = json.loads(run.report.report.read_text())
    names = {entry["name"] for entry in report["classes"]}
    assert report["train"]["iou"].keys() == names and 0 <= report["train"]["miou"] <= 1
    lines = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    assert any("train/miou" in line and "train/pixel_accuracy" in line for line in lines)
