"""What a run survives: full disks, files that vanish, damaged checkpoints, failing logs, long runs."""

import collections
import errno
import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
import time
import traceback
from dataclasses import replace

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

from seg_jax import data, main
from seg_jax.config import ConfigError
from seg_jax.data import sampler
from seg_jax.data.images import DataError
from seg_jax.run.checkpoint import Checkpoints
from seg_jax.run.log import FILE, Writer, read
from seg_jax.run.saving import CheckpointWriter, SaveError
from seg_jax.runtime import process, xla
from seg_jax.runtime.process import ProcessError
from seg_jax.runtime.xla import DETERMINISTIC
from seg_jax.train import loop, session
from seg_jax.train.loop import train_and_evaluate
from tests.runs import QUIET, REPOSITORY, TINY, array_file, flip, lines, manifest

pytestmark = [
    pytest.mark.timeout(120),
    # A save that failed leaves unfinished tasks of orbax and tensorstore behind, which Python complains about.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def place_of_whole(tmp_path_factory):
    return tmp_path_factory.mktemp("undisturbed") / "run"


@pytest.fixture
def whole(place_of_whole, config_for):
    """The run directory of an undisturbed run of four steps."""
    if not place_of_whole.exists():
        train_and_evaluate(config_for(), place_of_whole)
    return place_of_whole


@pytest.fixture
def mount(tmp_path):
    """mount(options) -> a directory on a file system of its own."""
    places = []

    def make(options):
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no right to mount a file system: {done.stderr.strip()}")
        places.append(place)
        return place

    try:
        yield make
    finally:
        for place in places:
            subprocess.run(["umount", "-l", place], check=True)


def fill(disk):
    """Leaves no byte of a disk free."""
    with (disk / "ballast").open("ab", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC


def assert_resumes(config, workdir, whole):
    """The same command ends with the bits and the lines of the undisturbed run."""
    assert int(train_and_evaluate(config, workdir).step) == 4
    assert manifest(workdir, 4) == manifest(whole, 4)
    for name in ("train/loss", "val/miou"):
        assert lines(workdir, name) == lines(whole, name)


# The disk


def test_a_save_that_fails_ends_the_run_and_loses_no_earlier_one(config_for, whole, tmp_path, monkeypatch):
    save = ocp.CheckpointManager.save

    def failing(self, step, **arguments):
        if step == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return save(self, step, **arguments)

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", failing)
        with pytest.raises(SaveError, match=rf"{run}/checkpoints: No space left on device\. .* the same command"):
            train_and_evaluate(config_for(), run)
    assert manifest(run, 2) == manifest(whole, 2)
    assert_resumes(config_for(), run, whole)


def test_a_save_that_fails_in_its_thread_is_noticed_at_the_next_log_line(config_for, tmp_path, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ocp.CheckpointManager, "check_for_errors", full)
    with pytest.raises(SaveError, match="No space left"):
        train_and_evaluate(config_for(log__every_steps=1, eval__every_steps=0, eval__every_epochs=0), tmp_path / "run")
    assert lines(tmp_path / "run", "train/loss")[-1][0] == 1


def test_a_defect_is_not_taken_for_a_full_disk(tmp_path, monkeypatch):
    def broken(self):
        raise ValueError("a defect")

    checkpoints = CheckpointWriter(tmp_path / "checkpoints")
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="a defect") as found:
        patch.setattr(ocp.CheckpointManager, "wait_until_finished", broken)
        checkpoints.wait()
    assert type(found.value) is ValueError
    checkpoints.close()


def test_a_disk_that_fills_up(config_for, whole, mount, monkeypatch, caplog):
    """At the evaluation of step 4: logs and report are warnings, the checkpoint is the error."""
    disk, evaluate = mount("size=16m"), session.Session.evaluate

    def filling(self, step, state):
        if step == 4:
            self.checkpoints.wait()  # for that of step 2
            fill(disk)
        return evaluate(self, step, state)

    run = disk / "run"
    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "evaluate", filling)
        with pytest.raises(SaveError, match=rf"{run}/checkpoints: No space left on device"):
            train_and_evaluate(config_for(), run)
        assert "curves.png cannot be written" in caplog.text
        # Nor can it go on without space, and says so before it trains.
        with pytest.raises(ConfigError, match=rf"--workdir={run} cannot be written to .*No space left.*Free space"):
            train_and_evaluate(config_for(), run)
    assert manifest(run, 2) == manifest(whole, 2)
    (disk / "ballast").unlink()
    assert_resumes(config_for(), run, whole)


@pytest.mark.slow
def test_a_full_disk_ends_the_program_with_one_line(environment, mount):
    workdir = mount("size=500k") / "run"  # holds the files before the first checkpoint, but not that
    done = subprocess.run(
        [sys.executable, "-m", "seg_jax.main", *TINY, QUIET, f"--workdir={workdir}", "--config.model.encoder.width=16"],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: a checkpoint cannot be written to {workdir}/checkpoints: No space left on device")


def test_a_disk_that_is_full_before_the_first_step(tiny_config, tmp_path, monkeypatch, capsys):
    """Whatever file of the run directory it is that does not fit any more."""

    def failing(number):
        def run(config, workdir):
            raise OSError(number, os.strerror(number), str(workdir / "class_names.json"))

        return run

    monkeypatch.setattr(loop, "train_and_evaluate", failing(errno.ENOSPC))
    assert main.train(tiny_config({"log.tensorboard": False}), tmp_path) == 1
    assert "class_names.json'. Free space in" in capsys.readouterr().err
    monkeypatch.setattr(loop, "train_and_evaluate", failing(errno.EIO))  # not known to be cured by space
    with pytest.raises(OSError, match="class_names"):
        main.train(tiny_config({"log.tensorboard": False}), tmp_path)


def test_a_directory_that_cannot_be_written_is_noticed_before_training(config_for, tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigError, match=rf"--workdir={workdir} cannot be written to .* another directory"):
            train_and_evaluate(config_for(), workdir)


def test_a_read_only_disk_is_noticed_before_training(config_for, mount):
    with pytest.raises(ConfigError, match=r"cannot be written to .*Read-only file system"):
        train_and_evaluate(config_for(), mount("ro") / "run")


# Damaged files


@pytest.mark.parametrize("kind", ["a flipped byte", "a missing file", "an empty directory"])
def test_a_damaged_newest_checkpoint_is_replaced_by_training_from_the_one_before(
    config_for,
    whole,
    tmp_path,
    caplog,
    kind,
):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    newest = run / "checkpoints" / "4"
    if kind == "a flipped byte":
        path = array_file(run / "checkpoints", 4)
        flip(path, path.stat().st_size // 2)
    elif kind == "a missing file":
        (newest / "meta" / "metadata").unlink()
    else:
        shutil.rmtree(newest)
        newest.mkdir()
    with caplog.at_level(logging.INFO):
        assert_resumes(config_for(), run, whole)
    assert "resuming after step 2 of 4" in caplog.text
    assert "set aside as 4.damaged" in caplog.text


def test_half_a_line_of_metrics_and_a_clock_that_goes_backwards(config_for, whole, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "checkpoints" / "4")
    with (run / FILE).open("a", encoding="utf-8") as file:
        file.write('{"step": 4, "train/lo')
    now = time.time()
    ticks = itertools.count(1)
    monkeypatch.setattr(time, "time", lambda: now - 3600 - next(ticks))
    assert_resumes(config_for(), run, whole)
    rows = [json.loads(text) for text in (run / FILE).read_text(encoding="utf-8").splitlines()]
    assert [row["step"] for row in rows] == [2, 2, 4, 4]
    assert rows[-1]["time"] < rows[-2]["time"] < rows[0]["time"]


# Reading


def tampered(monkeypatch, step, tamper):
    """Has `tamper(examples, index)` called before an example is read for `step`, for 0 when it is checked before.

    Threads read in any order, so the readings of one example are counted: one for the check, for the first example
    another one for the size, then one in each epoch.
    """
    load = data.load

    def loading(config, split, **options):
        examples, batch, seen = load(config, split, **options), config.train.batch_size, collections.Counter()
        chosen = int(sampler.indices(config.seed, max(step - 1, 0), batch, len(examples))[3])
        at = 1 if step == 0 else 2 + (chosen == 0) + (step - 1) * batch // len(examples)

        def reading(index):
            if split == "train" and index == chosen:
                seen[index] += 1
                if seen[index] == at:
                    tamper(examples, index)
            return examples.read(index)

        return replace(examples, read=reading)

    monkeypatch.setattr(data, "load", loading)


CHANGES = {
    "vanishes": (lambda path: path.unlink(), "does not exist"),
    "shrinks": (lambda path: path.write_bytes(path.read_bytes()[:100]), "cannot be read"),
    "has another size": (lambda path: Image.new("RGB", (20, 16)).save(path), "has 16x20 pixels"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_photograph_that_changes_during_the_run(config_for, whole, tmp_path, monkeypatch, caplog, change):
    spoil, message = CHANGES[change]
    saved = []

    def tamper(examples, index):
        path = examples.files[index][0]
        saved.append((path, path.read_bytes()))
        spoil(path)

    run, config = tmp_path / "run", config_for(data__cache="none")
    with monkeypatch.context() as patch:
        tampered(patch, 4, tamper)
        with pytest.raises(DataError, match=message) as found:
            train_and_evaluate(config, run)
    ((path, content),) = saved
    assert path.name in str(found.value)
    assert Checkpoints(run / "checkpoints").steps() == [3, 2]
    assert "saved step 3" in caplog.text
    path.write_bytes(content)
    with caplog.at_level(logging.INFO):
        assert_resumes(config, run, whole)
    assert "resuming after step 3 of 4" in caplog.text


def test_when_it_cannot_be_saved_either_the_first_error_is_told(config_for, tmp_path, monkeypatch, caplog):
    def full(self, step, **arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    tampered(monkeypatch, 1, lambda examples, index: examples.files[index][0].unlink())
    with pytest.raises(DataError, match="does not exist"):
        train_and_evaluate(config_for(data__cache="none"), tmp_path / "run")
    assert "a checkpoint cannot be written" in caplog.text


@pytest.mark.parametrize("cache", ["none", "host"])
def test_a_defect_in_a_reading_thread_shows_where_it_is(config_for, tmp_path, monkeypatch, cache):
    def tamper(examples, index):
        raise RuntimeError("an unexpected defect")

    tampered(monkeypatch, 4 if cache == "none" else 0, tamper)
    with pytest.raises(RuntimeError, match="an unexpected defect") as found:
        train_and_evaluate(config_for(data__cache=cache), tmp_path / "run")
    assert "tamper" in [frame.name for frame in traceback.extract_tb(found.value.__traceback__)]
    assert (tmp_path / "run" / "checkpoints" / "3").is_dir() == (cache == "none")


# Logs


@pytest.mark.parametrize("method", ["write_scalars", "write_images", "write_texts", "write_hparams", "flush", "close"])
def test_an_error_of_tensorboard_is_one_warning(tmp_path, monkeypatch, caplog, method):
    from clu import metric_writers

    def failing(self, *arguments, **named):
        raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr(metric_writers.SummaryWriter, method, failing)
    out = Writer(tmp_path, start_step=0, tensorboard=True)
    for step in (1, 2, 3):
        out.texts(step, {"text": "a"})
        out.hparams({"lr": 0.1})
        out.images(step, {"picture": np.zeros((2, 2, 3), np.uint8)})
        out.scalars(step, {"loss": 1.0})
        out.flush()
    out.close()
    warnings = [r.getMessage() for r in caplog.records if r.name == "root" and r.levelno == logging.WARNING]
    assert len(warnings) == 1 and warnings[0].startswith("TensorBoard's events end here ([Errno 28] the disk is full)")
    assert [line["step"] for line in read(tmp_path)] == [1, 2, 3]


class Grudging:
    """A file that takes so many bytes and refuses the rest, until it has `room` again."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, content):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self.file.write(content[: self.room])
        self.room -= taken
        return taken

    def close(self):
        self.file.close()


def test_lines_of_metrics_wait_for_space(tmp_path, caplog):
    out = Writer(tmp_path, start_step=0, tensorboard=False)
    out.scalars(1, {"loss": 1.0})
    out._file = Grudging(out._file, room=10)  # less than a line
    for step in (2, 3):
        out.scalars(step, {"loss": 1.0})
    assert [line["step"] for line in read(tmp_path)] == [1]
    out._file.room = 1 << 20
    out.scalars(4, {"loss": 1.0})
    out.close()
    assert [json.loads(text)["step"] for text in (tmp_path / FILE).read_text().splitlines()] == [1, 2, 3, 4]
    assert len(caplog.records) == 1 and "metrics.jsonl cannot be written" in caplog.text


def test_a_run_whose_logs_all_fail_trains_to_its_end(config_for, whole, tmp_path, monkeypatch, caplog):
    from clu import metric_writers

    def failing(*arguments, **named):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(metric_writers.SummaryWriter, "write_scalars", failing)
    monkeypatch.setattr(session.report, "write", failing)
    monkeypatch.setattr(session.report, "write_curves", failing)
    monkeypatch.setattr(session.report, "write_class_curves", failing)
    for name in ("write", "animate", "remove_after"):
        monkeypatch.setattr(session.pictures, name, failing)
    monkeypatch.setattr(session, "write_image", failing)
    train_and_evaluate(config_for(log__tensorboard=True), tmp_path / "run")
    assert manifest(tmp_path / "run", 4) == manifest(whole, 4)
    assert lines(tmp_path / "run", "train/loss") == lines(whole, "train/loss")
    for what in ("sample.png", "the report of step 2", "curves.png", "TensorBoard's events"):
        assert what in caplog.text
    for what in ("curves_classes.png", "/pictures cannot", "the picture of step 2", "training.webp"):
        assert what in caplog.text


# What a resumed run remembers


def test_patience_resumes_where_it_was(config_for, tmp_path):
    config = config_for(optim__lr=1e-12, early_stop__patience=2, train__steps=40)
    config.model.norm = "group"  # no running statistics: nothing changes, so no evaluation is a gain
    assert int(train_and_evaluate(config, tmp_path / "run").step) == 6
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
    assert int(train_and_evaluate(config, tmp_path / "run").step) == 6  # one without gain before, one after
    assert Checkpoints(tmp_path / "run" / "checkpoints").choose("best") == 2


# Determinism


def test_deterministic_runs_are_equal(config_for, tmp_path):
    for name in ("one", "two"):
        train_and_evaluate(config_for(train__deterministic=True, optim__ema=0.9), tmp_path / name)
    assert manifest(tmp_path / "one", 4) == manifest(tmp_path / "two", 4)


def test_xla_is_told_before_it_starts(monkeypatch):
    from jax._src import xla_bridge

    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1")
    monkeypatch.setattr(process, "has_accelerator", lambda: False)
    xla.make_deterministic()
    assert os.environ["XLA_FLAGS"] == "--xla_a=1"
    monkeypatch.setattr(process, "has_accelerator", lambda: True)
    jax.devices()  # has started
    with pytest.raises(ProcessError, match=rf"train\.deterministic = True: .*XLA_FLAGS={DETERMINISTIC}"):
        xla.make_deterministic()
    monkeypatch.setattr(xla_bridge, "backends_are_initialized", lambda: False)
    xla.make_deterministic()
    assert os.environ["XLA_FLAGS"] == f"--xla_a=1 {DETERMINISTIC}"
    monkeypatch.undo()
    monkeypatch.setenv("XLA_FLAGS", DETERMINISTIC)
    monkeypatch.setattr(process, "has_accelerator", lambda: True)
    xla.make_deterministic()  # by who started the program: fine even now


# Long runs

SOAK = """
import ctypes, gc, os, sys
from pathlib import Path
from seg_jax.runtime import process

process.quiet()
process.use_compilation_cache()
process.hide_accelerators_from_tensorflow()
from configs import synthetic_unet
from seg_jax.train.loop import train_and_evaluate
from seg_jax.train.session import Session

config = synthetic_unet.get_config()
config.update_from_flattened_dict({
    "data.size": (32, 32), "data.synthetic.train_scenes": 16, "data.synthetic.val_scenes": 4,
    "model.encoder.width": 4, "model.encoder.depth": 1, "train.batch_size": 4, "eval.batch_size": 4,
    "train.steps": 2000, "eval.every_steps": 200, "log.every_steps": 10, "eval.panels": 1,
})
log = Session.log

def measured(self, step, metrics):
    log(self, step, metrics)
    if step % 100 == 50:
        # What is held, not what waits to be freed: cycles until Python looks for them, pages until malloc returns them.
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        pages = int(open("/proc/self/statm").read().split()[1])
        print("soak", step, pages, len(os.listdir("/proc/self/fd")), flush=True)

Session.log = measured
train_and_evaluate(config, Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory and open files are read from /proc")
def test_memory_and_open_files_do_not_grow(environment, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SOAK, tmp_path / "run"],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [tuple(map(int, row.split()[1:])) for row in done.stdout.splitlines() if row.startswith("soak")]
    steps, pages, files = zip(*rows, strict=True)
    half = steps.index(550)
    print(rows)
    assert steps[-1] == 1950 and pages[-1] < 1.02 * pages[half]
    # A checkpoint that is being written has files open for a moment; what leaks stays open.
    assert min(files[-5:]) <= min(files[half : half + 5])
