"""The whole command: runs as programs of their own, what is trained once, what fails, and the comparison."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from seg_jax.compare import __main__ as command
from seg_jax.compare import runs
from seg_jax.compare.__main__ import evaluate, main
from seg_jax.compare.plan import Planned
from seg_jax.compare.runs import FailedError, InterruptedByUserError, Runner, StoppedError, at_once, with_each
from seg_jax.config import checked, with_fields
from seg_jax.report.comparison import Run
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime.process import Interruption
from tests.runs import QUIET, REPOSITORY, TINY

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def program(monkeypatch):
    """program(code) -> that code runs in place of seg_jax.main; returns the command lines that were started."""
    started = []
    popen = subprocess.Popen

    def replace(code):
        def start(command, **options):
            started.append(command[3:])
            return popen([sys.executable, "-c", code, *command[3:]], **options)

        monkeypatch.setattr(runs.subprocess, "Popen", start)
        return started

    return replace


@pytest.fixture
def run(tiny_config):
    fields, arguments = {"optim.lr": "0.1"}, ("--config=a.py", "--config.optim.lr=0.1")
    return Planned("a", "lr=0.1", fields, arguments, checked(tiny_config()))


def test_a_failed_program_is_an_error_with_its_reason(program, run, tmp_path, capsys):
    runner = Runner(tmp_path, "", Interruption())
    started = program("import sys; print('\\rbar 1\\rbar 2', flush=True); sys.exit('error: no disk. Buy one.')")
    with pytest.raises(FailedError, match=r"^no disk\. Buy one, see .*comparison/a\.log$"):
        runner.train(run)
    assert started == [[*run.arguments, f"--workdir={tmp_path / 'a'}"]]
    assert "bar 2" in capsys.readouterr().err and "no disk" in (tmp_path / "comparison" / "a.log").read_text()
    program("raise TypeError('a defect')")
    with pytest.raises(FailedError, match=r"^TypeError: a defect, see"):
        runner.train(run)
    program("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(FailedError, match=r"^ended by SIGKILL, see"):
        runner.train(run)
    program("")  # as one that was told to stop
    with pytest.raises(FailedError, match=r"stopped before its last step"):
        runner.train(run)


def test_a_signal_is_passed_on_and_ends_the_comparison(program, run, tmp_path):
    waiting = (
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nprint('up', flush=True)\n"
    )
    program(waiting + "for _ in range(600): print('.', flush=True); time.sleep(0.1)")
    interruption = Interruption()
    interruption.name = "SIGTERM"
    with pytest.raises(InterruptedByUserError, match="SIGTERM"):  # nothing is started any more
        Runner(tmp_path, "", interruption).train(run)
    interruption.name = ""
    begin = time.monotonic()
    with interruption:
        killer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM))
        killer.start()
        with pytest.raises(InterruptedByUserError, match="SIGTERM"):
            Runner(tmp_path, "", interruption).train(run)
        killer.join()
    assert time.monotonic() - begin < 30
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_hopeless_run_is_stopped_by_name(program, run, tmp_path):
    program(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "for _ in range(600): print('.', flush=True); time.sleep(0.05)"
    )
    answers = iter([False, False, True])
    with pytest.raises(StoppedError, match="median of the other runs was better"):
        Runner(tmp_path, "", Interruption()).train(run, hopeless=lambda: next(answers))
    assert next(answers, None) is None


def test_programs_at_once_see_their_own_devices(program, run, tmp_path, capsys):
    program("import os, sys; print('sees', os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.exit('error: none')")
    runners = at_once(Runner(tmp_path, "", Interruption()), [{"CUDA_VISIBLE_DEVICES": n} for n in "01"])
    together = threading.Barrier(2, timeout=30)
    seen = set()

    def work(runner, item):
        together.wait()  # both have begun before either ends
        seen.add(runner.environment["CUDA_VISIBLE_DEVICES"])
        runner.train(replace(run, name=item))

    errors = with_each(runners, work, ["a", "b"])
    assert {index: type(error) for index, error in errors.items()} == {0: FailedError, 1: FailedError}
    logs = {(tmp_path / "comparison" / f"{name}.log").read_text().splitlines()[0] for name in "ab"}
    assert logs == {"sees 0", "sees 1"} and seen == {"0", "1"}
    assert "sees" not in capsys.readouterr().err  # two at once would be a tangle


def test_work_that_fails_leaves_the_rest_and_a_signal_ends_it():
    done = []

    def work(runner, item):
        if item in (1, 9):
            raise (FailedError if item == 1 else InterruptedByUserError)(f"item {item}")
        done.append(item)

    runners = [object()]
    errors = with_each(runners, work, [0, 1, 2])
    assert done == [0, 2] and list(errors) == [1] and str(errors[1]) == "item 1"
    with pytest.raises(InterruptedByUserError, match="item 9"):
        with_each(runners, work, [1, 9])


def test_the_plan_alone_starts_nothing(program, tmp_path, capsys):
    started = program("")
    over = ["--over=model.name=unet,fcn8s", "--over=model.encoder.depth=1,3"]
    assert main(["--config=synthetic_unet", *over, f"--workdir={tmp_path / 'x'}", "--plan"]) == 0
    said = capsys.readouterr()
    assert said.out.split() == ["unet-depth=1", "unet-depth=3", "fcn8s-depth=3"]
    assert "left out fcn8s-depth=1: " in said.err and not started and not (tmp_path / "x").exists()
    assert main(["--config=synthetic_unet", "--over=model.name=fnc8s", f"--workdir={tmp_path}"]) == 1
    assert "error: --over: model.name=fnc8s fits in no combination" in capsys.readouterr().err


def test_an_evaluation_of_other_scales_is_none(program, run, trained_run, tmp_path):
    """They share a directory: RUN/eval/val-STEP-scales."""
    shutil.copytree(trained_run, tmp_path / "a")
    started = program("")
    for scales, evaluations in (((1.0, 0.5), 1), ((1.0, 0.5), 1), ((1.0, 2.0), 2)):
        asked = replace(run, config=with_fields(RunDirectory(trained_run).config(), {"eval.scales": scales}))
        files = Runner(tmp_path, "", Interruption()).evaluate(asked)
        assert len(started) == evaluations
        content = json.loads((trained_run / "report.json").read_text())
        content["protocol"]["scales"] = list(scales)
        files.path.mkdir(parents=True, exist_ok=True)
        files.report.write_text(json.dumps(content))


def test_the_comparison_has_the_values_as_they_were_typed(monkeypatch, run, tmp_path):
    """Names of directories leave out what no directory can be called."""
    runner = SimpleNamespace(workdir=tmp_path, train=lambda run: None, evaluate=lambda run: SimpleNamespace(path="x"))
    monkeypatch.setattr(command.Run, "load", lambda name: Run(name, tmp_path, tmp_path, {}, {}, None))
    monkeypatch.setattr(command, "Comparison", lambda runs, notes: SimpleNamespace(runs=runs, tables=list, notes=notes))
    monkeypatch.setattr(command, "write", lambda comparison, place: written.append(comparison))
    written = []
    runs = [replace(run, name=name, title=title) for name, title in (("size=-1f", "size=(8, 8)"), ("b", "b"))]
    assert evaluate(runs, [runner], {}) == 0
    assert [each.name for each in written[0].runs] == ["size=(8, 8)", "b"]


@pytest.mark.slow
def test_runs_are_trained_once_evaluated_and_compared(environment, tmp_path):
    """Three runs and a refused combination; then one of them again, which fails."""
    grid = ["--over=model.name=unet,fcn8s", "--over=model.encoder.depth=1,3"]
    tiny = [
        *(flag for flag in TINY if "depth" not in flag),
        QUIET,
        "--config.train.steps=4",
        "--config.eval.every_steps=4",
    ]

    def compare(*more):
        return subprocess.run(
            [sys.executable, "-m", "seg_jax.compare", *tiny, *more, "--split=val", f"--workdir={tmp_path}"],
            cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600,
        )  # fmt: skip

    done = compare(*grid)
    assert done.returncode == 0, done.stderr
    assert "left out fcn8s-depth=1: " in done.stderr
    content = json.loads((tmp_path / "comparison" / "report.json").read_text())
    assert [each["name"] for each in content["runs"]] == ["unet-depth=1", "unet-depth=3", "fcn8s-depth=3"]
    assert [each["protocol"]["split"] for each in content["runs"]] == ["val"] * 3
    assert set(content["paired"]) == {"unet-depth=3", "fcn8s-depth=3"} and not content["flags"]
    assert len(content["absent"]) == 1 and content["absent"][0].startswith("fcn8s-depth=1 was left out: ")
    assert str(tmp_path / "comparison" / "report.html") in done.stdout and "fcn8s-depth=3" in done.stdout
    shutil.rmtree(tmp_path / "unet-depth=1")
    (tmp_path / "unet-depth=1").touch()  # no directory can be made there
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/**/*") if "comparison" not in path.parts}
    done = compare(*grid)
    assert done.returncode == 1
    content = json.loads((tmp_path / "comparison" / "report.json").read_text())
    assert [each["name"] for each in content["runs"]] == ["unet-depth=3", "fcn8s-depth=3"]
    assert any(one.startswith("unet-depth=1 failed: ") and "unet-depth=1.log" in one for one in content["absent"])
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/**/*") if "comparison" not in path.parts}
    assert before and after == before
