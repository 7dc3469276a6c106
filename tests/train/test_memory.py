"""Changes that make a training step fit into memory: their order, and that they are measured."""

import pytest

from seg_jax.run import cost, pretrained, program
from seg_jax.run.length import Length
from seg_jax.runtime import sharding
from seg_jax.train import memory


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


def test_what_fits_is_left_as_it_is(functions, needed):
    found = memory.fit_memory(functions, size=(128, 128), limit=needed)
    assert found == ({}, needed)
    assert "per device as it is: it needs" in memory.proposal(found, limit=needed)


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
