"""Two processes with two devices each, on this machine: the numbers of one process with four, and nothing lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_jax.run.checkpoint import Checkpoints
from seg_jax.run.log import read
from seg_jax.runtime import process
from tests.runs import free_port

pytestmark = [pytest.mark.timeout(300)]

FLAGS = {
    "data.synthetic.train_scenes": 24,
    "data.synthetic.val_scenes": 6,  # less than a batch: the last processes feed padding
    "data.size": "(32, 32)",
    "augment.crop": "(32, 32)",
    "model.encoder.width": 4,
    "model.encoder.depth": 2,
    "train.batch_size": 8,
    "eval.batch_size": 8,
    "optim.warmup_steps": 0,
    "optim.name": "sgd",
    "optim.lr": 0.1,
    "optim.ema": 0.9,
    "log.tensorboard": False,
    "log.every_steps": 1,
    "checkpoint.every_steps": 2,
    "checkpoint.keep_last": 3,
}


def start(workdir, *, processes, steps, mode="train", **fields):
    """The processes of a run of four devices, just started; their output goes to files beside the run directory."""
    fields = (
        FLAGS | {"train.steps": steps, "eval.every_steps": steps} | {k.replace("__", "."): v for k, v in fields.items()}
    )
    command = [sys.executable, "-m", "seg_jax.main", "--config=configs/synthetic_unet.py", f"--workdir={workdir}"]
    command.append(f"--mode={mode}")
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(4 // processes)}
    address, started = f"127.0.0.1:{free_port()}", []
    for index in range(processes):
        place = [f"--coordinator={address}", f"--num_processes={processes}", f"--process_id={index}"]
        with open(f"{workdir}.{index}.log", "w") as log:
            arguments = command + (place if processes > 1 else [])
            started.append(subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT, env=environment))
    return started


def output(workdir, index):
    return Path(f"{workdir}.{index}.log").read_text()


def finish(started, workdir):
    codes = [one.wait(200) for one in started]
    said = [output(workdir, i) for i in range(len(started))]
    assert codes == [0] * len(started), "\n".join(said)
    return said


def arrays(workdir, step):
    return Checkpoints(workdir / "checkpoints").arrays(step, averaged=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The directory of an undisturbed run of two processes, with what each of them said."""
    workdir = tmp_path_factory.mktemp("pair") / "run"
    return workdir, finish(start(workdir, processes=2, steps=6), workdir)


@pytest.mark.slow
def test_two_processes_compute_what_one_does(pair, tmp_path):
    finish(start(tmp_path / "one", processes=1, steps=6), tmp_path / "one")
    one, two = arrays(tmp_path / "one", 6), arrays(pair[0], 6)
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=1e-3, atol=1e-5, err_msg=name)
    # Every example once: the confusion matrices count the same pixels.
    counts = [sum(sum(row) for row in report(place)["confusion"]) for place in (tmp_path / "one", pair[0])]
    assert counts[0] == counts[1] > 0
    losses = [
        [line["train/loss"] for line in read(place) if "train/loss" in line] for place in (tmp_path / "one", pair[0])
    ]
    assert len(losses[0]) == 6 and losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.slow
def test_two_processes_evaluate_in_detail_as_one_does(pair, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(pair[0], workdir)
    found = []
    for processes in (2, 1):
        finish(start(workdir, processes=processes, steps=6, mode="eval"), workdir)
        found.append(report(workdir / "eval" / "val-6"))
    two, one = found
    assert two["confusion"] == one["confusion"] and two["worst"] == one["worst"]
    for section in ("boundary", "trimap"):
        assert two[section] == one[section]
    assert two["compat"]["TASM"] == one["compat"]["TASM"]
    assert two["calibration"]["nll"] == pytest.approx(one["calibration"]["nll"], rel=1e-6)
    assert sum(two["calibration"]["bins"]["pixels"]) == sum(map(sum, one["confusion"])) > 0


def report(workdir):
    return json.loads((workdir / "report.json").read_text())


@pytest.mark.slow
def test_one_process_writes(pair):
    _, (first, second) = pair
    assert "mean IoU" in first and "finished step 6" in first
    assert "mean IoU" not in second and "finished step" not in second


def test_a_bad_file_that_one_process_finds_stops_both(tmp_path):
    for name in ("train", "trainannot"):
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.fromarray(np.full((32, 32), i % 2, np.uint8)).save(tmp_path / name / f"e{i}.png")
    (tmp_path / "class_names.json").write_text('["sky", "road"]')
    (tmp_path / "trainannot" / "e3.png").write_bytes(b"")  # the second process reads 1 and 3
    fields = {"data__source": "folder", "data__dir": tmp_path, "data__val_split": "train", "data__cache": "none"} | {
        "loss__class_weights": "()"
    }
    started = start(tmp_path / "run", processes=2, steps=2, **fields)
    assert [one.wait(200) for one in started] == [1, 1]
    said = [output(tmp_path / "run", i) for i in range(2)]
    for text, own in zip(said, ("3/3", "2/2"), strict=True):
        assert f" {own} [" in text, text  # of the progress bar
    first, second = (text[text.index("error: ") :].strip() for text in said)
    assert first == second and first.startswith("error: 1 of 5 examples of the split 'train' cannot be used:")
    assert str(tmp_path / "trainannot" / "e3.png") in first


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other_and_the_same_command_goes_on(pair, tmp_path):
    workdir = tmp_path / "run"
    started = start(workdir, processes=2, steps=6)
    deadline = time.monotonic() + 120
    while not (workdir / "checkpoints" / "2").is_dir() and time.monotonic() < deadline:
        time.sleep(0.1)
    started[1].kill()
    started[1].wait()
    killed = time.monotonic()
    first = started[0].wait(90)
    said = output(workdir, 0)
    if first:  # it may have been done already
        assert time.monotonic() - killed < 60
        assert "another task died" in said or "unhealthy" in said, said[-2000:]
    finish(start(workdir, processes=2, steps=6), workdir)
    ours, theirs = arrays(workdir, 6), arrays(pair[0], 6)
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


@pytest.mark.slow
def test_sigterm_to_one_stops_both_at_the_same_step(tmp_path):
    workdir = tmp_path / "run"
    started = start(workdir, processes=2, steps=100_000)
    deadline = time.monotonic() + 120
    while not (workdir / "checkpoints" / "2").is_dir() and time.monotonic() < deadline:
        time.sleep(0.1)
    started[1].send_signal(signal.SIGTERM)
    finish(started, workdir)
    said = [output(workdir, i) for i in range(2)]
    steps = {text.partition("SIGTERM: saved step ")[2].partition(";")[0] for text in said}
    assert len(steps) == 1 and (workdir / "checkpoints" / steps.pop()).is_dir()


@pytest.mark.slow
def test_another_number_of_processes_goes_on(pair, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(pair[0], workdir)
    for step in (4, 6):
        shutil.rmtree(workdir / "checkpoints" / str(step), ignore_errors=True)
    assert (workdir / "checkpoints" / "2").is_dir()
    finish(start(workdir, processes=1, steps=6), workdir)
    ours, theirs = arrays(workdir, 6), arrays(pair[0], 6)
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("arguments", [("here:1", 0, -1), ("", 2, 0), ("here:1", 2, 2), ("here:1", 2, -1)])
def test_half_of_the_arguments_are_refused(arguments):
    with pytest.raises(process.ProcessError, match=r"several processes need all three.*--distributed"):
        process.join(*arguments)


def test_a_single_process_joins_nothing():
    process.join()
