"""Signals: what a training records, and what a lost terminal does to it."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from seg_jax.runtime.process import Interruption
from tests.runs import REPOSITORY


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_recorded_and_the_handlers_return(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert not interruption.now()
        os.kill(os.getpid(), number)
        assert interruption.now() and interruption.name == signal.Signals(number).name
    assert signal.getsignal(number) == before


def test_an_ignored_hangup_stays_ignored():
    """`nohup python -m seg_jax.main ...` trains on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interruption.now()
    finally:
        signal.signal(signal.SIGHUP, before)


IN_A_TERMINAL = """
import fcntl, sys, termios, time
from pathlib import Path
from seg_jax.runtime.process import Interruption

fcntl.ioctl(1, termios.TIOCSCTTY, 0)
with Interruption() as interruption:
    print("ready", flush=True)
    while not interruption.now():
        time.sleep(0.01)
    for stream in (sys.stdout, sys.stderr):
        print("lines that nobody can see", file=stream, flush=True)
    Path(sys.argv[1]).write_text(interruption.name)
"""


def test_a_closed_terminal_does_not_keep_a_run_from_saving(tmp_path):
    said = tmp_path / "said"
    terminal, inside = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, str(said)],
        cwd=REPOSITORY, stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
    )  # fmt: skip
    os.close(inside)
    while b"ready" not in os.read(terminal, 1000):
        pass
    os.close(terminal)
    assert child.wait(timeout=60) == 0
    assert said.read_text() == "SIGHUP"
