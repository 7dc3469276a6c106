"""What tests of evaluation share."""

import pytest

from seg_jax.evaluate import evaluator


@pytest.fixture
def counters(monkeypatch):
    """The counters of the evaluations of a test."""
    made = []

    class Kept(evaluator.Counter):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(evaluator, "Counter", Kept)
    return made
