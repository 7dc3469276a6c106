"""Which compiled step runs next."""

from seg_jax.train import programs


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
