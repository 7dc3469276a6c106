"""From a configuration to a job: in which order it is refused, and where class weights come from."""

import numpy as np
import pytest

from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.data import stats
from seg_jax.data.labels import IGNORE, LabelTable
from seg_jax.run.directory import RunDirectory
from seg_jax.run.opening import equal, open_job


def test_a_job_has_everything_that_was_left_open(tiny_config, tmp_path):
    config = tiny_config()
    job = open_job(config, ("train", "val"), run=RunDirectory(tmp_path / "run"))
    assert [split.split for split in job.splits] == ["train", "val"] and [len(split) for split in job.splits] == [16, 8]
    assert job.functions.config is job.config and job.functions.mesh is job.mesh
    assert job.functions.classes == len(job.splits[0].table)
    assert len(job.config.data.mean) == 3 and config.data.mean == ()  # the given configuration stays
    assert job.splits[0].arrays is not None  # data.cache = host


def test_without_a_run_nothing_is_read_or_written(tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stats, "load", None)
    config = tiny_config({"loss.class_weights": ("median_frequency",)})
    job = open_job(config, ("train", "val"), run=None, weigh=equal)
    assert job.config.loss.class_weights == (1.0,) * len(job.splits[0].table)
    assert job.splits[0].arrays is None and list(tmp_path.iterdir()) == []


def test_the_guard_sees_a_resolved_configuration_before_any_data(tiny_config, monkeypatch):
    monkeypatch.setattr(data, "load", None)

    def guard(config):
        assert config.data.mean and config.model.encoder.style == "torch"
        raise ConfigError("not this one")

    with pytest.raises(ConfigError, match="not this one"):
        open_job(tiny_config(), ("train",), run=None, guard=guard)
    with pytest.raises(ConfigError, match=r"optim\.lr"):  # it is checked before
        open_job(tiny_config({"optim.lr": -1.0}), ("train",), run=None, guard=guard)


def test_a_run_that_would_end_within_its_warmup_is_refused_before_files_are_read(tiny_config, tmp_path):
    config = tiny_config({"train.steps": 5, "optim.warmup_steps": 5})
    with pytest.raises(ConfigError, match=r"optim\.warmup_steps = 5: .*before the run does, after 5 steps"):
        open_job(config, ("train", "val"), run=RunDirectory(tmp_path / "run"), training=True)
    assert not (tmp_path / "run").exists()


def test_data_of_other_classes_is_refused(tiny_config, tmp_path):
    table = LabelTable(names=("a", "b"), colors=((0, 0, 0), (9, 9, 9)))
    with pytest.raises(ConfigError, match=r"the run in .*/run \('a', 'b'\); they must agree"):
        open_job(tiny_config(), ("val",), run=RunDirectory(tmp_path / "run"), table=table)
    assert not (tmp_path / "run").exists()  # before files are checked


def test_the_same_classes_in_another_order_are_matched_by_name(tiny_config, tmp_path):
    config = tiny_config()
    straight = open_job(config, ("val",), run=None).splits[0]
    names = straight.table.names[::-1]
    turned = open_job(config, ("val",), run=None, table=LabelTable(names=names)).splits[0]
    assert (turned.table.names, turned.table.colors) == (names, straight.table.colors[::-1])
    last = len(names) - 1
    for read in (lambda e: e.read(0)[1], lambda e: e.original(0)[1]):
        label = read(straight)
        np.testing.assert_array_equal(read(turned), np.where(label == IGNORE, IGNORE, last - label))
    np.testing.assert_array_equal(turned.table.decode(turned.read(0)[1]), straight.table.decode(straight.read(0)[1]))


def test_recorded_class_weights_are_not_counted_again(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(stats, "load", None)
    named, run = tiny_config({"loss.class_weights": ("median_frequency",)}), RunDirectory(tmp_path)
    weights = tuple(float(i) for i in range(8))
    recorded = tiny_config({"loss.class_weights": weights})
    assert open_job(named, ("train",), run=run, recorded=recorded).config.loss.class_weights == weights
