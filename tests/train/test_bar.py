"""What the progress bar says, and how long it thinks the rest takes."""

import pytest
import tqdm

from seg_jax.run.progress import Progress
from seg_jax.train import bar as bars
from seg_jax.train.bar import Bar


@pytest.fixture
def clock(monkeypatch, capsys):
    """clock(seconds) lets time pass for the bar, and gives what the bar shows."""
    now, shown = [1000.0], [""]
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    monkeypatch.setattr(bars.time, "time", lambda: now[0])

    def wait(seconds):
        now[0] += seconds
        shown.extend(capsys.readouterr().err.split("\r"))
        return shown[-1]

    return wait


def test_compilation_is_said_and_left_out_of_the_estimate(clock):
    with Bar(0, 100, epoch=10) as bar:
        with bar.compiling():
            assert clock(40).startswith("compiling:   0%")
        for _ in range(10):
            clock(2)
            bar.advance(1)
        # 10 steps took 20 seconds, so 90 take 180; with the 40 of the compiler it would be 540.
        assert "10/100 [00:20<03:00, epoch 1/10]" in clock(0)
        assert "compiling" not in clock(0)


def test_an_evaluation_counts_for_what_it_is_of_the_whole(clock):
    with Bar(0, 40, epoch=10) as bar:
        for _ in range(10):
            clock(2)
            bar.advance(1)
        with bar.showing("evaluating"):  # 40 seconds for 10 steps, and there are 30 more
            assert clock(20).startswith("evaluating:  25%")
        clock(2)
        bar.advance(1)
        assert "11/40 [00:42<01:50" in clock(0)


def test_a_resumed_run_has_the_pace_of_this_process(clock):
    with Bar(50, 100, epoch=10) as bar:
        clock(10)
        bar.advance(5)
        assert "55/100 [00:10<01:30, epoch 6/10]" in clock(0)


@pytest.mark.parametrize(
    ("done", "epoch"), [(1, "1/4"), (2, "1/4"), (3, "2/4"), (5, "2/4"), (6, "3/4"), (9, "4/4"), (10, "4/4")]
)
def test_epochs_of_two_and_a_half_steps(clock, done, epoch):
    with Bar(done - 1, 10, epoch=2.5) as bar:
        clock(2)
        bar.advance(1, "", "2.00 step/s", Progress(0.25, 3).note("miou"))
        assert clock(0).endswith(f"epoch {epoch}, 2.00 step/s, best mIoU 0.250]")


def test_the_record_in_words():
    assert Progress().note("miou") == ""
    assert Progress(-0.5, 7).note("loss") == "best loss 0.500"


def test_other_processes_show_nothing(clock, monkeypatch):
    monkeypatch.setattr(bars.process, "is_first", lambda: False)
    with Bar(0, 3, epoch=1) as bar:
        with bar.compiling():
            bar.advance(1)
        assert clock(5) == ""
