"""Which compiled step runs next, what it needs, and how many programs a run compiles."""

import jax
import pytest

from seg_jax.run import cost, pretrained, program
from seg_jax.run.length import Length
from seg_jax.runtime import sharding
from seg_jax.train import programs
from seg_jax.train.loop import train_and_evaluate
from tests.runs import OF_FOLDER

PLANNED = 56_055_772  # bytes, jaxlib 0.10.2 on a CPU


def test_a_program_of_several_steps_ends_where_something_happens(tiny_config):
    config = tiny_config({"train.steps_per_dispatch": 4, "log.every_steps": 10, "checkpoint.every_steps": 0})

    def lengths(*, frozen, total, every=100):
        done, found = 0, []
        while done < total:
            found.append(programs.dispatch_length(config, done, every=every, ends=(frozen, total)))
            done += found[-1]
        return found

    assert lengths(frozen=0, total=13) == [4, 4, 1, 1, 1, 1, 1]
    assert lengths(frozen=6, total=14) == [4, 1, 1, 4, 4]
    assert lengths(frozen=0, total=8, every=3) == [1] * 8
    config.profile.start_step, config.profile.steps = 5, 4
    assert lengths(frozen=0, total=10) == [4, 1, 4, 1]


def test_a_step_needs_the_memory_that_it_needed(tiny_config):
    """XLA's plan is deterministic; another processor or release moves it by a little, a lost fusion by much more."""
    config = pretrained.resolve(tiny_config({"data.size": (64, 64), "model.encoder.width": 16}))
    functions = program.Functions(config, classes=11, mesh=sharding.make_mesh(1), length=Length(10, every=10))
    assert cost.peak_memory(functions.train_step((64, 64)).compile()) == pytest.approx(PLANNED, rel=0.03)


@pytest.mark.slow
def test_a_run_compiles_four_programs(tiny_config, folder, undrawn, tmp_path):
    compiled = []

    def note(event, seconds, **facts):
        if event.endswith("backend_compile_duration"):
            compiled.append(facts["fun_name"])

    def train(name, steps):
        config = tiny_config({**OF_FOLDER, "data.dir": str(folder), "train.steps": steps})
        train_and_evaluate(config, tmp_path / name)

    train("one", 4)  # which compiles what any run needs once, such as the addition of two numbers
    compiled.clear()
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        train("two", 6)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert sorted(compiled) == ["jit(<lambda>)", "jit(eval_step)", "jit(predict)", "jit(train_step)"]
