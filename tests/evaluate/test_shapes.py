"""Photographs of any sizes: the shapes in which they are evaluated, and a run on them from end to end."""

import json
import logging

import jax
import numpy as np
import pytest
from PIL import Image

from seg_jax.augment import placing
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelTable
from seg_jax.data.probabilities import resize_probabilities
from seg_jax.evaluate import shapes
from seg_jax.evaluate.stored import evaluate_checkpoint
from seg_jax.predict.predictor import Predictor
from seg_jax.run import cost
from seg_jax.run.checkpoint import Checkpoints
from seg_jax.run.directory import RunDirectory
from seg_jax.run.opening import equal, open_job
from seg_jax.steps.sizes import to_sizes
from seg_jax.train import shapes as planned
from seg_jax.train.loop import train_and_evaluate

TABLE = LabelTable(names=("a", "b"))


def split(sizes):
    names = tuple(map(str, range(len(sizes))))
    return Examples("val", names, lambda i: None, TABLE, sizes=tuple(sizes))


# ----- shapes


def test_two_shapes_become_one_where_that_adds_fewest_pixels():
    sides = np.array([[32, 64], [32, 64], [64, 32], [32, 96], [31, 60]])
    two = shapes.merged(sides, most=2)
    assert [(shape, indices.tolist()) for shape, indices in two] == [((32, 96), [0, 1, 3, 4]), ((64, 32), [2])]
    ((shape, indices),) = shapes.merged(sides, most=1)
    assert shape == (64, 96) and indices.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("short_side", [0, 96])
def test_every_photograph_fits_one_of_few_shapes(short_side, caplog):
    rng = np.random.default_rng(0)
    sizes = [tuple(map(int, size)) for size in rng.integers(30, 1500, (500, 2))]
    with caplog.at_level(logging.INFO):
        groups = shapes.plan(split(sizes), short_side=short_side, batch_size=16, parts=4)
    assert len(groups) <= shapes.MOST and f"{len(groups)} shapes" in caplog.text
    assert sorted(np.concatenate([group.indices for group in groups])) == list(range(500))
    for group in groups:
        assert group.batch_size % 4 == 0 and 4 <= group.batch_size <= 16
        assert group.batch_size == 4 or group.batch_size * np.prod(group.size) <= shapes.PIXELS
        scored = group.scored or group.size
        assert all(sizes[i][0] <= scored[0] and sizes[i][1] <= scored[1] for i in group.indices)
        if short_side:
            assert min(group.size) >= 96


def test_no_more_shapes_than_batches():
    sizes = [(32 * i, 64) for i in range(1, 6)]
    (group,) = shapes.plan(split(sizes), short_side=0, batch_size=8, parts=1)
    assert group.size == (160, 64) and group.batch_size == 5


# ----- logits at the size of the labels


def test_logits_are_resized_each_by_its_own_factors_as_pillow_does():
    rng = np.random.default_rng(0)
    pairs = [((5, 7), (11, 16)), ((8, 8), (8, 8)), ((6, 8), (3, 4)), ((3, 4), (12, 9))]
    values = rng.normal(size=(5, 8, 8, 3)).astype(np.float32)  # the last one fills the batch
    sizes = np.zeros((5, 2, 2), np.float32)
    sizes[:4] = pairs
    resized = np.asarray(jax.jit(to_sizes, static_argnums=2)(values, sizes, (12, 16)))
    assert np.isfinite(resized).all()
    for one, (before, after), value in zip(resized, pairs, values, strict=False):
        expected = resize_probabilities(value[: before[0], : before[1]], after)
        np.testing.assert_allclose(one[: after[0], : after[1]], expected, atol=1e-5)


# ----- a whole run

VAL = [(40, 56), (70, 33), (64, 64)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Eight pairs to train on and three to evaluate on, all of different sizes."""
    root = tmp_path_factory.mktemp("sizes")
    for folder, sizes in {"train": [(20 + 9 * i, 90 - 7 * i) for i in range(8)], "val": VAL}.items():
        for kind in (folder, f"{folder}annot"):
            (root / kind).mkdir()
        for i, size in enumerate(sizes):
            rng = np.random.default_rng(i)
            label = np.zeros(size, np.uint8)
            label[:, rng.integers(5, 20) :] = 1
            label[: rng.integers(1, 5)] = 255
            noise = rng.integers(-20, 20, (*size, 3))
            image = (np.where(label[..., None] == 1, 180, 60) + noise).astype(np.uint8)
            Image.fromarray(image).save(root / folder / f"{i}.png")
            Image.fromarray(label).save(root / f"{folder}annot" / f"{i}.png")
    (root / "class_names.json").write_text('["a", "b"]')
    return root


@pytest.fixture
def configured(tiny_config, directory, shared_programs, undrawn):
    def make(**fields):
        sized = {"data.source": "folder", "data.dir": str(directory), "data.size": (0, 0), "augment.crop": (32, 32)}
        quick = {"train.steps": 4, "eval.every_steps": 4, "log.tensorboard": False, "eval.panels": 2}
        return tiny_config({**sized, "augment.scale": (0.5, 2.0), **quick, **fields})

    return make


def parameters(workdir, step):
    return Checkpoints(workdir / "checkpoints").arrays(step, averaged=False)


def labelled(directory):
    return sum((np.asarray(Image.open(path)) != 255).sum() for path in (directory / "valannot").iterdir())


@pytest.mark.slow
def test_a_run_on_photographs_of_any_size(configured, directory, tmp_path):
    config = configured()
    workdir = tmp_path / "run"
    train_and_evaluate(config, workdir)
    report = json.loads((workdir / "report.json").read_text())
    # Every labelled pixel of the stored masks is scored, once.
    assert sum(one["tp"] + one["fn"] for one in report["classes"]) == labelled(directory)
    assert report["protocol"]["resolution"] == "original" and report["protocol"]["sizes"] == "40x56 to 64x64"
    # The same parameters from files, and with a stop in between.
    train_and_evaluate(configured(**{"data.cache": "none"}), tmp_path / "files")
    np.testing.assert_equal(parameters(tmp_path / "files", 4), parameters(workdir, 4))


def test_a_resumed_run_sees_the_same_crops(configured, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fields = {"checkpoint.every_steps": 2, "checkpoint.keep_last": 9}
    train_and_evaluate(configured(**fields), whole)

    class StopError(Exception):
        pass

    def stop(step, metrics):
        if step == 3:
            raise StopError

    from seg_jax.train.hooks import Hooks

    with pytest.raises(StopError):
        train_and_evaluate(configured(**fields), parts, Hooks(on_step=stop))
    assert Checkpoints(parts / "checkpoints").steps()[-1] < 4
    train_and_evaluate(configured(**fields), parts)
    np.testing.assert_equal(parameters(parts, 4), parameters(whole, 4))


@pytest.mark.parametrize("short_side", [0, 32])
def test_in_detail_and_in_prediction(configured, directory, tmp_path, counters, short_side):
    """Counted on the host from probabilities, and on the devices from logits; predicted at the same scale."""
    config = configured(**{"data.short_side": short_side})
    train_and_evaluate(config, tmp_path)
    result = evaluate_checkpoint(config, tmp_path, "last")
    assert counters[0].totals["confusion"].sum() == result.confusion.sum() == labelled(directory)
    if short_side:  # bilinear between probabilities, and between logits
        assert np.trace(counters[0].totals["confusion"]) == pytest.approx(np.trace(result.confusion), rel=0.1)
    else:
        np.testing.assert_array_equal(counters[0].totals["confusion"], result.confusion)
    predictor = Predictor.load(tmp_path, checkpoint="last")
    assert predictor.trained_size == ((32, 32) if short_side else None)
    for i, size in enumerate(VAL):
        prediction = predictor(directory / "val" / f"{i}.png")
        assert prediction.label.shape == size


def test_windows_over_photographs_of_any_size(configured, directory, tmp_path):
    config = configured(**{"data.short_side": 48})
    train_and_evaluate(config, tmp_path)
    windowed = configured(**{"data.short_side": 48, "eval.window": (32, 32)})
    result = evaluate_checkpoint(windowed, tmp_path, "last")
    assert result.confusion.sum() == labelled(directory)
    assert result.protocol["window"] == [32, 32] and result.protocol["short_side"] == 48
    # Prediction slides over the same scale.
    predictor, counts = Predictor.load(tmp_path, checkpoint="last", window=(32, 32)), np.zeros((2, 2), int)
    for i, size in enumerate(VAL):
        truth = np.asarray(Image.open(directory / "valannot" / f"{i}.png"))
        prediction = predictor(directory / "val" / f"{i}.png")
        assert prediction.label.shape == prediction.confidence.shape == size
        np.add.at(counts, (truth[truth != 255], prediction.label[truth != 255]), 1)
    np.testing.assert_allclose(counts, result.confusion, atol=2)  # sums in another order decide ties otherwise


@pytest.mark.parametrize(("short_side", "expected"), [(0, "8 of 96x64"), (32, "8 of 96x64, scored at 96x64")])
def test_a_dry_run_says_the_shapes_of_training_and_evaluation(configured, tmp_path, short_side, expected):
    fields = {"data.short_side": short_side, "augment.rotate": 10.0, "eval.batch_size": 8, "data.cache": "none"}
    config = configured(**fields)
    job = open_job(config, ("train", "val"), run=RunDirectory(tmp_path), weigh=equal)
    train, val = planned.steps(job)
    part = placing.part_size(config.augment)
    assert train.images == f"8 of {part[0]}x{part[1]}, crops of 32x32" and min(part) > 32
    batch = train.lowered.in_avals[0][1]
    assert batch["image"].shape == (8, *part, 3) and batch["placed"].shape == (8, 2, 5)
    assert (val.name, val.images) == ("eval step", f"{expected} (3 photographs)")
    assert val.lowered.in_avals[0][2]["image"].shape == (8, 96, 64, 3)
    assert cost.describe(job.functions, [])[0].splitlines()[0] == "parameters"


def test_device_memory_is_for_one_size(configured, tmp_path):
    with pytest.raises(DataError, match=r"cache = 'device' keeps photographs of one size.*cache=host"):
        train_and_evaluate(configured(**{"data.cache": "device"}), tmp_path)


def test_without_crops_different_sizes_are_refused(configured, tmp_path):
    with pytest.raises(DataError, match=r"config.data.size to bring all to one size, or config.augment.crop"):
        train_and_evaluate(configured(**{"augment.crop": (0, 0)}), tmp_path)
