"""Pictures of every evaluation: their size, which ones stay, what a restart removes, the animation."""

import json

import numpy as np
import pytest
from PIL import Image

from seg_jax import report, viz
from seg_jax.data.labels import LabelTable
from seg_jax.report import pictures
from seg_jax.run.directory import RunDirectory

TABLE = LabelTable(names=("sky", "road"), colors=((10, 20, 200), (200, 30, 40)))


def panel(size=(6, 8), shade=90):
    label = np.zeros(size, np.uint8)
    return viz.panel(np.full((*size, 3), shade, np.uint8), label, label, TABLE)


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path)


def write(run, step, panels=None, shade=90):
    pictures.write(run, step, {0: panel(shade=shade)} if panels is None else panels, TABLE, miou=0.5)


def test_a_picture_has_four_photographs_spread_over_those_there_are(run):
    write(run, 20, {index: panel((60, 80), shade=10 * index) for index in range(10)})
    with Image.open(run.picture(20)) as picture:
        assert picture.format == "JPEG"
        shown = np.asarray(picture).astype(int)
    times = 1200 // (4 * 80 + 12)
    top = shown.shape[0] - viz.sheet([panel((60, 80))], TABLE).shape[0]  # more rows than one
    assert shown.shape[1] == times * (4 * 80 + 12) and top > 0
    column = shown[:, 10].mean(-1)
    shades = [round(column[26 + 30 * times + i * (60 * times + 4)]) for i in range(4)]
    np.testing.assert_allclose(shades, [0, 30, 60, 90], atol=4)


@pytest.mark.parametrize("size", [(4, 6), (500, 20), (2, 900), (2048, 2048)])
def test_pictures_are_bounded(run, size):
    write(run, 1, {index: panel(size) for index in range(9)})
    with Image.open(run.picture(1)) as picture:
        assert picture.width <= 1200 and picture.height < 4 * 604 + 300


def test_without_panels_there_is_no_picture(run):
    write(run, 1, {})
    pictures.animate(run)
    assert not run.pictures_folder.exists()


def test_the_number_of_pictures_is_bounded_and_they_stay_spread(run, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PICTURES", 4)
    stored = []
    for step in (10, 20, 30, 40, 50, 60, 70):
        write(run, step)
        stored.append(list(run.pictures()))
    assert stored[3:] == [[10, 20, 30, 40], [10, 30, 40, 50], [10, 30, 50, 60], [10, 30, 50, 70]]


def test_pictures_of_later_steps_are_removed(run):
    for step in (5, 10, 15):
        write(run, step)
    (run.pictures_folder / "mine.jpg").touch()
    pictures.remove_after(run, 10)
    assert list(run.pictures()) == [5, 10] and (run.pictures_folder / "mine.jpg").exists()


def test_the_animation_has_a_frame_for_each_whole_picture(run):
    for step, shade in ((5, 0), (100, 250), (20, 120)):
        write(run, step, shade=shade)
    run.picture(30).write_bytes(b"no picture")
    run.picture(40).write_bytes(run.picture(5).read_bytes()[:2000])
    pictures.animate(run)
    with Image.open(run.animation_file) as animation:
        assert (animation.format, animation.n_frames, animation.size[0]) == ("WEBP", 3, 960)
        shades = []
        for frame in range(3):
            animation.seek(frame)
            shades.append(np.asarray(animation.convert("RGB"))[30, 10].mean())
    np.testing.assert_allclose(shades, [0, 120, 250], atol=8)


# ----- curves of classes, from the lines of metrics.jsonl


def test_the_curves_of_classes_are_read_from_the_log(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(report.viz, "class_curves", lambda *arguments, **named: drawn.append((arguments, named)) or b"")
    report.write_class_curves(run.path, best=4)
    assert not drawn  # there is no log
    lines = [
        {"step": 2, "val/iou/a/b": 0.5, "val/iou/c": None, "val/miou": 0.5, "train/iou/c": 0.25},
        {"step": 4, "val/iou/a/b": 0.75, "val/iou/c": 0.125, "train/loss": 1.0},
    ]
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report.write_class_curves(run.path, best=4)
    val = {"a/b": [(2, 0.5), (4, 0.75)], "c": [(4, 0.125)]}
    splits = {"val": val, "train": {"c": [(2, 0.25)]}}
    assert drawn == [((splits, ["a/b", "c"]), {"best": 4})] and run.class_curves_file.exists()
    monkeypatch.setattr(report, "MOST_CLASSES", 1)
    report.write_class_curves(run.path, best=4)
    assert drawn[1][0][1] == ["c"]  # the lowest last IoU
