"""What all tests of inspect, lint, browse, stats and prepare share."""

import numpy as np
import pytest

from seg_jax.runtime import process


@pytest.fixture(autouse=True)
def _apart(request, tmp_path, monkeypatch):
    """Nothing outside of the test's directory is written, and the tests' log is left as it is.

    Random numbers of a module do not depend on the tests that the same worker ran before.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(process, "quiet", lambda: None)
    monkeypatch.setattr(request.module, "RNG", np.random.default_rng(0), raising=False)
