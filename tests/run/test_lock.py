"""One training in a run directory: who is refused, who is not, and that a lock dies with its process."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager

import numpy as np
import pytest

from seg_jax.config import ConfigError
from seg_jax.run import lock
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import process, sharding
from seg_jax.steps.state import TrainState

HOLDER = """
import sys
from pathlib import Path
from seg_jax.run import lock

with lock.exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path):
    """Another process that holds the lock `path`."""
    other = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        yield other
    finally:
        other.kill()
        other.communicate()


def noted(path, *, host, pid):
    path.write_text(json.dumps({"host": host, "pid": pid}))


def saved(run):
    """The sum of three ones that were saved as a checkpoint, read again."""
    state = TrainState.begin({"x": np.ones(3, np.float32)}, {}, {}, averaged=False)
    with closing(run.checkpoint_writer(keep_last=1)) as checkpoints:
        checkpoints.save(state, {}, score=None)
    return run.checkpoints().weights(0, state.weights(averaged=False))["params"]["x"].sum()


def is_free(path):
    with lock.exclusive(path):
        return json.loads(path.read_text()) == {"host": socket.gethostname(), "pid": os.getpid()}


def test_a_second_process_is_refused_by_name_until_the_first_ends(tmp_path):
    path = tmp_path / "lock"
    with holder(path) as other:
        said = rf"process {other.pid} on {socket.gethostname()} is training in {tmp_path}\. .*kill {other.pid}"
        for _ in range(2):
            with pytest.raises(lock.LockedError, match=said), lock.exclusive(path):
                pytest.fail("two processes hold the lock")
        other.communicate()  # the end of its input ends it
        assert other.returncode == 0 and path.read_text() == ""
    assert is_free(path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_dies_with_its_process(tmp_path, number):
    path = tmp_path / "lock"
    with holder(path) as other:
        other.send_signal(number)
        other.wait()
        assert json.loads(path.read_text())["pid"] == other.pid  # its note stays, and means nothing
        assert is_free(path)


def test_within_a_process_there_is_one_training_too(tmp_path):
    path = tmp_path / "lock"
    with lock.exclusive(path), pytest.raises(lock.LockedError, match=f"process {os.getpid()} "), lock.exclusive(path):
        pytest.fail("held twice")
    assert is_free(path)


def test_an_error_frees_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), lock.exclusive(tmp_path / "lock"):
        raise ZeroDivisionError
    assert is_free(tmp_path / "lock")


def test_a_note_of_a_dead_host_does_not_block(tmp_path, caplog):
    noted(tmp_path / "lock", host="a-host-that-burnt", pid=7)
    assert is_free(tmp_path / "lock")
    assert "names process 7 on a-host-that-burnt, whose lock is gone" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "a"}', '{"host": "a", "pid": "b"}'])
def test_a_damaged_note_does_not_block(tmp_path, content):
    (tmp_path / "lock").write_text(content)
    assert is_free(tmp_path / "lock")


def test_without_locks_a_living_process_of_this_host_counts(tmp_path, monkeypatch, caplog):
    def unsupported(handle, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    path = tmp_path / "lock"
    with holder(path) as other:
        monkeypatch.setattr(fcntl, "flock", unsupported)
        with pytest.raises(lock.LockedError, match=f"process {other.pid} on"), lock.exclusive(path):
            pytest.fail("held twice")
        other.kill()
        other.wait()
        assert is_free(path)
    assert "cannot be locked" in caplog.text
    noted(path, host="another-host", pid=os.getppid())
    assert is_free(path)


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigError, match=rf"--workdir={path} cannot be written to"), RunDirectory(path).training():
            pytest.fail("trained in a file")


@pytest.mark.parametrize("name", ["try[1]", "[!a]", "a[[]", "a**b", "a\\b", "a\\", "gs:", "\udcff", "try[1]/run"])
def test_a_path_that_takes_no_checkpoint_is_refused(tmp_path, name):
    said = rf"--workdir={tmp_path}.*: no whole checkpoint can be written there: .*Use another --workdir"
    with pytest.raises(ConfigError, match=said), RunDirectory(tmp_path / name).training():
        pytest.fail("trained where nothing can be saved")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a* b?", "{a,b}", "\u00fc#%20", "a[", "a]", "[]", "s3:", "a:b", "~", "a\nb"])
def test_other_paths_take_one(tmp_path, name):
    run = RunDirectory(tmp_path / name)
    with run.training():
        assert saved(run) == 3


def test_a_relative_path_counts_as_a_whole(tmp_path, monkeypatch):
    (tmp_path / "try[1]").mkdir()
    monkeypatch.chdir(tmp_path / "try[1]")
    with pytest.raises(ConfigError, match=r"Orbax takes try\[1\] for a pattern"), RunDirectory("run").training():
        pytest.fail("trained where nothing can be saved")


def test_the_processes_of_one_run_share_its_lock(tmp_path, monkeypatch):
    run = RunDirectory(tmp_path / "run")
    with run.training():
        monkeypatch.setattr(process, "is_first", lambda: False)  # as in the second process
        with run.training():
            assert run.lock_file.is_file()


def test_a_refusal_ends_all_processes_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "is_first", lambda: False)
    monkeypatch.setattr(sharding, "exchange", lambda said: ["process 7 on first is training", said])
    with pytest.raises(ConfigError, match="process 7 on first is training"), RunDirectory(tmp_path / "run").training():
        pytest.fail("trained without the first process")
