"""How many runs are trained at once, and on which GPUs."""

import pytest

from seg_jax.compare import devices
from seg_jax.config import ConfigError


@pytest.fixture
def configs(tiny_config):
    return [tiny_config()] * 3


def visible(shares):
    return [share.get("CUDA_VISIBLE_DEVICES") for share in shares]


@pytest.mark.parametrize(
    ("jobs", "gpus", "expected"),
    [
        (None, [], [None]),  # one CPU
        (2, [], [None] * 2),
        (9, [], [None] * 3),  # no more than there are runs
        (None, ["0"], ["0"]),
        (None, ["0", "1"], ["0", "1"]),
        (1, ["0", "1"], ["0,1"]),
        (None, list("01234567"), ["0,1", "2,3", "4,5"]),
        (2, ["GPU-a", "GPU-b", "GPU-c"], ["GPU-a", "GPU-b"]),
    ],
)
def test_every_program_has_gpus_of_its_own(configs, jobs, gpus, expected, monkeypatch):
    monkeypatch.setattr(devices.process, "has_accelerator", lambda: bool(gpus))
    assert visible(devices.shares(jobs, configs, gpus)) == expected


def test_a_mesh_gets_the_gpus_that_it_needs(tiny_config):
    config = tiny_config({"mesh.model": 2, "mesh.space": 1})
    assert visible(devices.shares(None, [config] * 4, list("0123"))) == ["0,1", "2,3"]
    with pytest.raises(ConfigError, match=r"--jobs=3: there are 4 GPUs, and a run needs 2, .*at most --jobs=2"):
        devices.shares(3, [config] * 4, list("0123"))


def test_what_cannot_be_is_refused(configs, monkeypatch):
    with pytest.raises(ConfigError, match=r"--jobs=0: .*at least 1"):
        devices.shares(0, configs, [])
    monkeypatch.setattr(devices.process, "has_accelerator", lambda: True)
    with pytest.raises(ConfigError, match=r"--jobs=2: one program takes every chip of a TPU"):
        devices.shares(2, configs, [])


def test_gpus_are_those_that_the_environment_shows(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert devices.gpus() == ["3", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.gpus() == []
