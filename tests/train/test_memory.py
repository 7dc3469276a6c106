"""What a training needs of memory, and the changes that make its step fit: their order, and that they are measured."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from seg_jax.run import cost, pretrained, program
from seg_jax.run.length import Length
from seg_jax.runtime import machine, sharding
from seg_jax.train import memory
from tests.runs import REPOSITORY


@pytest.fixture(scope="module")
def functions(tiny_config):
    config = pretrained.resolve(tiny_config({"augment.crop": (128, 128), "data.size": (128, 128)}))
    return program.Functions(config, classes=3, mesh=sharding.make_mesh(2), length=Length(10, every=10))


@pytest.fixture(scope="module")
def needed(functions):
    return cost.peak_memory(functions.train_step((128, 128)).compile())


def test_changes_go_from_mild_to_harsh(tiny_config):
    config = tiny_config({"train.batch_size": 8, "augment.crop": (256, 128), "model.encoder.output_stride": 16})
    found = list(memory.changes(config, devices=2, size=(300, 200)))
    again = {"model.remat": True}
    assert found == [
        {},
        again,
        {"train.accumulate": 2},
        {"train.accumulate": 2} | again,
        {"train.accumulate": 4},
        {"train.accumulate": 4} | again,
        {"augment.crop": (128, 64), "train.accumulate": 4},
        {"augment.crop": (128, 64), "train.accumulate": 4} | again,
        {"augment.crop": (128, 64), "train.batch_size": 2, "train.accumulate": 1} | again,
    ]


def test_no_change_leaves_batch_statistics_of_one_value(tiny_config):
    def proposed(**fields):
        config = tiny_config({"model.name": "pspnet", "augment.crop": (128, 128), "train.batch_size": 4} | fields)
        return list(memory.changes(config, devices=1, size=(128, 128)))

    found = proposed()
    assert [fields.get("train.accumulate", 1) for fields in found] == [1, 1, 2, 2, 2, 2, 1]
    assert found[-1]["train.batch_size"] == 2
    found = proposed(**{"model.norm": "group"})
    assert {"train.accumulate": 4} in found and found[-1]["train.batch_size"] == 1


def test_what_fits_is_left_as_it_is(functions, needed):
    found = memory.fit_memory(functions, size=(128, 128), limit=needed)
    assert found == ({}, needed)
    assert "per device as it is: it needs" in memory.proposal(found, limit=needed)


@pytest.mark.slow
def test_the_proposal_fits_and_was_measured(functions, needed):
    limit = 0.7 * needed
    fields, peak = memory.fit_memory(functions, size=(128, 128), limit=limit)
    assert fields and peak <= limit
    config = functions.config.copy()
    config.update_from_flattened_dict(fields)
    program.check(config, devices=2)
    assert " with --config." in memory.proposal((fields, peak), limit=limit)


def test_nothing_fits_into_nothing(functions, monkeypatch):
    monkeypatch.setattr(memory, "changes", lambda *args, **options: [{}])
    found = memory.fit_memory(functions, size=(128, 128), limit=1.0)
    assert found is None and "nothing that was tried fits" in memory.proposal(found, limit=1.0)


# The whole process: what dry_run says, and what a training had


def test_the_parts_of_a_footprint_by_hand():
    parts = {"process": 500, "programs": 50, "compiling": 90, "step": 65, "cache": 30, "batches": 5, "saving": 4}
    parts["kept"] = 6
    plan = memory.Footprint(**{name: size * 2**20 for name, size in parts.items()})
    assert plan.host == (500 + 50 + 30 + 90) * 2**20  # compiling takes more than the step with its batches
    assert replace(plan, step=80 * 2**20).host == (500 + 50 + 30 + 5 + 4 + 6 + 80) * 2**20
    lines = [line.split() for line in str(plan).splitlines()]
    assert lines[1][:3] == ["process", "500.0", "MiB"] and lines[-1][-2:] == ["670.0", "MiB"]


@pytest.mark.slow
@pytest.mark.skipif(not machine.resident(), reason="only Linux says what a process has")
@pytest.mark.parametrize("cache", ["host", "none"])
def test_a_training_has_the_memory_that_dry_run_says(cache, environment, tmp_path):
    """A step of some 500 MiB beside libraries of as much."""
    config = tmp_path / "config.py"
    config.write_text(
        "from seg_jax.config import recipe\n"
        "def get_config():\n"
        "    c = recipe('synthetic_unet')\n"
        f"    c.data.cache, c.data.size = {cache!r}, (192, 256)\n"
        "    c.data.synthetic.train_scenes, c.data.synthetic.val_scenes = 32, 8\n"
        "    c.train.batch_size, c.train.steps, c.optim.warmup_steps = 8, 6, 0\n"
        "    c.eval.batch_size = 8\n"
        "    return c\n"
    )

    def program(*flags):
        command = [sys.executable, "-m", "seg_jax.main", f"--config={config}", *flags]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (total,) = (line for line in program("--mode=dry_run").splitlines() if "peak of the process" in line)
    planned = float(total.split()[4].replace(",", "")) * 2**20
    program(f"--workdir={tmp_path / 'run'}")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["resident_peak_bytes"] == pytest.approx(planned, rel=0.2)
    assert facts["peak_memory_bytes"] > 0.2 * planned  # else libraries alone were compared
