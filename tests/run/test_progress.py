"""What a run remembers: by hand, and under the keys of earlier checkpoints."""

from seg_jax.run.progress import Progress


def test_a_course_by_hand():
    progress = Progress()
    assert not progress.is_gain(None) and progress.is_gain(-5.0)
    for step, score in ((10, 0.5), (20, 0.4), (30, 0.5), (40, None)):  # a tie is no gain, nor is no score
        progress = progress.evaluated(step, score)
    assert (progress.best, progress.best_step) == (0.5, 10)
    assert (progress.evaluations_without_gain, progress.evaluations_since_reduction) == (3, 3)
    progress = progress.reduced()
    assert (progress.evaluations_without_gain, progress.evaluations_since_reduction) == (3, 0)
    assert [progress.exhausted(patience) for patience in (0, 2, 3, 4)] == [False, True, True, False]
    assert progress.restarted() == Progress(best=0.5, best_step=10)
    assert progress.evaluated(50, 0.6) == Progress(best=0.6, best_step=50)


def test_outcomes_by_hand():
    words = {"split": "val", "metric": "loss", "patience": 2}
    assert Progress().outcome(**words) == "not evaluated yet"
    assert Progress(-0.5, 10, 1).outcome(**words) == "best val loss 0.5000 at step 10"
    assert Progress(-0.5, 10, 2).outcome(**words) == (
        "stopped early after 2 evaluations without gain; best val loss 0.5000 at step 10"
    )


def test_json_has_the_keys_of_earlier_checkpoints():
    values = {"best": 0.25, "best_step": 7, "without_gain": 2, "waited": 1, "seconds": 3.5}
    assert Progress.from_json(values) == Progress(0.25, 7, 2, 1, 3.5)
    assert Progress.from_json(values).to_json() == values
    assert Progress.from_json({"best": None, "memory of a later version": 1}) == Progress()
