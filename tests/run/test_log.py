"""Where metrics go: metrics.jsonl line by line, what a restart removes, and TensorBoard events read back."""

import io
import json
import math
import os
import time
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image

from seg_jax.config import ConfigError
from seg_jax.run import log
from seg_jax.run.log import FILE, Writer, read


def writer(workdir, start_step=0):
    return Writer(workdir, start_step=start_step, tensorboard=False)


def lines(workdir):
    return [json.loads(line) for line in (workdir / FILE).read_text(encoding="utf-8").splitlines()]


def run(workdir, steps, start_step=0):
    out = writer(workdir, start_step)
    for step in steps:
        out.scalars(step, {"train/loss": 1.0 / step})
    out.close()


def test_one_line_each(tmp_path):
    before = time.time()
    out = writer(tmp_path)
    out.scalars(5, {"train/loss": 0.5, "lr": np.float32(0.25)})
    out.scalars(10, {"val/miou": 1})
    out.close()
    first, second = lines(tmp_path)
    assert before - 1 < first.pop("time") <= second.pop("time") < time.time() + 1
    assert first == {"step": 5, "train/loss": 0.5, "lr": 0.25}
    assert second == {"step": 10, "val/miou": 1.0}
    assert sorted(os.listdir(tmp_path)) == [FILE]


def test_a_line_is_there_as_soon_as_it_is_written(tmp_path):
    out = writer(tmp_path)
    out.scalars(1, {"loss": 2.0})
    assert read(tmp_path)[0]["loss"] == 2.0
    out.flush()
    out.close()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_what_is_no_number_becomes_null(tmp_path, value):
    out = writer(tmp_path)
    out.scalars(1, {"loss": value, "lr": 1.0})
    out.close()
    text = (tmp_path / FILE).read_text(encoding="utf-8")
    assert '"loss": null, "lr": 1.0' in text
    assert read(tmp_path)[0]["loss"] is None


def test_without_tensorboard_nothing_else_is_written(tmp_path):
    out = writer(tmp_path)
    out.images(1, {"a": np.zeros((2, 2, 3), np.uint8)})
    out.texts(1, {"a": "b"})
    out.hparams({"a": 1})
    out.close()
    assert os.listdir(tmp_path) == [FILE]
    assert (tmp_path / FILE).read_bytes() == b""


# ----- reading and restarting


def test_nothing_to_read(tmp_path):
    assert read(tmp_path) == []


@pytest.mark.parametrize("half", ['{"step": 15, "train/lo', '{"step": 15', "{", '"step"', "15", "null", '{"loss": 1}'])
def test_half_a_line_is_passed_over_and_removed(tmp_path, half):
    run(tmp_path, [5, 10])
    with (tmp_path / FILE).open("a", encoding="utf-8") as file:
        file.write(half)  # no line end: the process was killed
    assert [line["step"] for line in read(tmp_path)] == [5, 10]
    run(tmp_path, [15], start_step=10)
    assert [line["step"] for line in lines(tmp_path)] == [5, 10, 15]  # every line is whole again


@pytest.mark.parametrize(("start_step", "kept"), [(0, []), (9, [5]), (10, [5, 10]), (100, [5, 10, 15, 20])])
def test_lines_of_later_steps_are_removed_at_a_restart(tmp_path, start_step, kept):
    run(tmp_path, [5, 10, 15, 20])
    before = read(tmp_path)
    writer(tmp_path, start_step).close()
    assert read(tmp_path) == [line for line in before if line["step"] in kept]
    run(tmp_path, [start_step + 5], start_step=start_step)
    assert [line["step"] for line in lines(tmp_path)] == [*kept, start_step + 5]


def test_a_resumed_run_has_the_lines_of_an_uninterrupted_one(tmp_path):
    for name in ("once", "resumed"):
        (tmp_path / name).mkdir()
    run(tmp_path / "once", range(1, 21))
    run(tmp_path / "resumed", range(1, 14))  # killed after step 13, the last checkpoint was of step 10
    run(tmp_path / "resumed", range(11, 21), start_step=10)

    def values(name):
        return [(line["step"], line["train/loss"]) for line in lines(tmp_path / name)]

    assert values("resumed") == values("once")


# ----- TensorBoard


def test_tensorboard_events_read_back(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    out = Writer(tmp_path, start_step=0, tensorboard=True)
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    for step in (1, 2, 3):
        out.scalars(step, {"train/loss": 1 / step, "grad/norm": math.nan if step == 2 else 4.0})
    out.images(3, {"val/panel": picture})
    out.texts(0, {"config": "model: unet\nlr: 1"})
    out.hparams({"model.name": "unet", "lr": 0.1, "crop": (1, 2), "none": None})
    out.flush()
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0, "tensors": 0}).Reload()
    out.close()

    def tensor_of(event):
        return make_ndarray(event.tensor_proto)

    def numbers(tag):
        return [(e.step, float(np.squeeze(tensor_of(e)))) for e in events.Tensors(tag)]

    assert numbers("train/loss") == [(1, 1.0), (2, 0.5), (3, float(np.float32(1 / 3)))]
    assert numbers("grad/norm") == [(1, 4.0), (3, 4.0)]
    [panel] = events.Tensors("val/panel")
    assert panel.step == 3
    width, height, *pngs = tensor_of(panel)
    assert (int(width), int(height), len(pngs)) == (12, 8, 1)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(pngs[0]))), picture)
    [text] = events.Tensors("config")
    # Four spaces make it fixed-width text in Markdown.
    assert np.squeeze(tensor_of(text)).item().decode() == "    model: unet\n    lr: 1"
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]


TORN = (
    b'{"step": 2, "los\n',  # cut off
    b"\xff\x00\xfe\n",  # no text
    b'{"step": 2, "loss": "\xff"}\n',
    b"[2]\n",
    b"null\n",
    b'{"loss": 1.0}\n',
    b'{"step": null}\n',
    b'{"step": Infinity}\n',
    b'{"step": 2, "train/loss": {"a": 1}}\n',
    b'{"step": 2, "train/loss": "1"}\n',
    b"[" * 100_000 + b"\n",
)


@pytest.mark.parametrize("torn", TORN, ids=range(len(TORN)))
def test_a_torn_file_is_read_and_resumed_without_what_is_torn(tmp_path, torn):
    whole = b'{"step": 1, "train/loss": 0.5}\n', b'{"step": 3, "train/loss": 0.25}\n'
    (tmp_path / FILE).write_bytes(whole[0] + torn + whole[1])
    assert read(tmp_path) == [{"step": 1, "train/loss": 0.5}, {"step": 3, "train/loss": 0.25}]
    run(tmp_path, [4], start_step=3)
    assert [line["step"] for line in lines(tmp_path)] == [1, 3, 4]


def test_tensorflow_waits_until_something_is_logged(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(log, "_open_events", lambda folder: opened.append(folder) or MagicMock())
    out = Writer(tmp_path, start_step=0, tensorboard=True)
    out.texts(0, {"config": "a"})
    out.hparams({"lr": 0.1})
    assert opened == []
    out.scalars(1, {"loss": 1.0})
    out.scalars(2, {"loss": 1.0})
    assert opened == [str(tmp_path)]
    assert [call[0] for call in out._events.method_calls] == ["write_texts", "write_hparams", *["write_scalars"] * 2]
    out.close()


def test_missing_libraries_are_named_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(log, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs clu and tensorflow\. Install them, or .*tensorboard=False"):
        Writer(tmp_path, start_step=0, tensorboard=True)
    Writer(tmp_path, start_step=0, tensorboard=False).close()
