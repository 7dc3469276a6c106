"""A step that fails, hangs or dies: what it had found stays, the rest is tried, and the time is kept."""

import json
import os
import time
from pathlib import Path

import pytest

from benchmarks.accelerator import __main__ as command
from benchmarks.accelerator import record, supervisor

# A step of three cases; what the second one does is in the options.
STEP = """
import json, os, signal, sys, time
from pathlib import Path
from benchmarks.accelerator.record import Recorder, RefusedError
options = json.loads(sys.argv[2])
recorder = Recorder(Path(options["path"]), deadline=options["deadline"])
def work(name, result):
    result["figure"] = 7
    recorder.note()
    if name == "second":
        exec(options["does"], globals() | {"result": result})
for name in recorder.plan(["first", "second", "third"]):
    recorder.case(name, lambda result: work(name, result))
recorder.finish()
"""

# Two cases at once, of which one ends the process; by themselves the other is fine.
PAIR = """
import json, os, signal, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from benchmarks.accelerator.record import Recorder
options = json.loads(sys.argv[2])
recorder = Recorder(Path(options["path"]), deadline=options["deadline"])
def work(name):
    time.sleep(0.3)
    if name == "bad":
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(5.0)  # another thread may get the signal, a moment later
    time.sleep(0.0 if options["alone"] else 5.0)
with ThreadPoolExecutor(1 if options["alone"] else 2) as pool:
    list(pool.map(lambda name: recorder.case(name, lambda result: work(name)), recorder.plan(["good", "bad"])))
recorder.finish()
"""


@pytest.fixture
def run(tmp_path):
    """run(what the second case does, seconds=, script=) -> (results, seconds that it took)."""

    def go(does="", *, seconds=60.0, script=STEP):
        begin = time.time()
        environment = os.environ | {"PYTHONPATH": os.getcwd()}
        with (tmp_path / "log").open("wb") as log:
            found = supervisor.run_step(
                "step", tmp_path / "step.json", {"does": does},
                deadline=begin + seconds, log=log, environment=environment, program=("-c", script),
            )  # fmt: skip
        assert json.loads((tmp_path / "step.json").read_text()) == found
        assert not found["running"]
        return found["cases"], time.time() - begin

    return go


def dead(pid):
    """Whether a process is gone, or waits to be buried, within a few seconds."""
    for _ in range(50):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


def statuses(cases):
    return {name: case["status"] for name, case in cases.items()}


def test_a_case_that_raises_leaves_its_traceback_and_the_next_runs(run):
    cases, _ = run("raise ValueError('no such kernel')")
    assert statuses(cases) == {"first": "ok", "second": "failed", "third": "ok"}
    assert cases["second"]["error"] == "ValueError: no such kernel"
    assert "raise ValueError" in cases["second"]["traceback"] or "<string>" in cases["second"]["traceback"]
    assert cases["second"]["figure"] == 7


def test_a_network_that_the_program_does_not_have_is_no_failure(run):
    cases, _ = run("raise RefusedError('not with this encoder')")
    assert statuses(cases)["second"] == "refused"
    assert not command.bad({"cases": cases})


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGSEGV"])
def test_a_process_that_dies_takes_one_case_with_it(run, signal):
    cases, _ = run(f"os.kill(os.getpid(), signal.{signal})")
    assert statuses(cases) == {"first": "ok", "second": "crashed", "third": "ok"}
    assert cases["second"]["error"] == f"its process was ended by {signal}" and cases["second"]["figure"] == 7
    assert command.bad({"cases": cases})


def test_a_gpu_that_is_lost_gets_a_new_process(run):
    cases, _ = run("raise RuntimeError('INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access')")
    assert statuses(cases) == {"first": "ok", "second": "crashed", "third": "ok"}
    said = (
        "its process ended with code 70; RuntimeError: INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access"
    )
    assert cases["second"]["error"] == said and "traceback" in cases["second"]


def test_a_step_that_outlasts_its_time_is_ended(run):
    # It has ignored the request to end, and has a child that would outlive it.
    cases, seconds = run(
        "import subprocess; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen(['sleep', '600']); result['child'] = child.pid; recorder.note(); time.sleep(600)",
        seconds=4.0,
    )
    assert statuses(cases) == {"first": "ok", "second": "out of time", "third": "not run"}
    assert seconds < 4 + supervisor.GRACE + 5 and cases["second"]["figure"] == 7
    assert dead(cases["second"]["child"])
    assert not command.bad({"cases": cases})


def test_of_cases_that_crash_together_the_guilty_one_is_found(run):
    cases, _ = run(script=PAIR)
    assert statuses(cases) == {"good": "ok", "bad": "crashed"}


def test_a_process_that_dies_before_its_cases_says_so(run, tmp_path):
    run(script="raise SystemExit(3)")
    found = json.loads((tmp_path / "step.json").read_text())
    assert found["error"] == "its process ended with code 3 outside of the cases; the log has more"
    assert command.bad(found) and "its process ended with code 3" in command.summary("smoke", found)


def test_a_case_without_time_is_not_begun(tmp_path):
    recorder = record.Recorder(tmp_path / "step.json", deadline=time.time() + 5)
    begun = []
    recorder.case("long", lambda result: begun.append("long"), needs=100.0)
    recorder.case("short", lambda result: begun.append("short"), needs=1.0)
    cases = json.loads((tmp_path / "step.json").read_text())["cases"]
    assert begun == ["short"] and statuses(cases) == {"long": "not run", "short": "ok"}
    assert cases["long"]["error"].endswith("s were left, 100 s are needed")


def test_figures_that_json_does_not_have_become_text(tmp_path):
    record.write(tmp_path / "x.json", {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": (1, 2)}})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": "nan", "b": ["inf", 1.5], "c": {"d": [1, 2]}}
