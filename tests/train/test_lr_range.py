"""The learning-rate range test: its arithmetic by hand, and a run."""

import json

import numpy as np
import pytest
from PIL import Image

from seg_jax.train import lr_range


def test_smoothing_by_hand():
    # 0.1 * 4 / 0.1; (0.9 * 0.4 + 0.1 * 2) / 0.19.
    assert lr_range.smoothed([4.0, 2.0]) == pytest.approx([4.0, 0.56 / 0.19])


def test_the_steepest_place_is_before_the_minimum():
    rates = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    # Slopes by neighbours on both sides: -0.1, -1.1, -1.0, -0.1 before the minimum, then a rise that does not count.
    assert lr_range.steepest(rates, [5.0, 4.9, 2.8, 2.7, 9.0]) == 1e-3
    assert lr_range.steepest(rates, [1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert lr_range.steepest([], []) is None


@pytest.mark.slow
def test_rates_rise_until_the_loss_diverges(config_for, tmp_path, monkeypatch):
    config = config_for(optim__name="sgd", optim__lr=0.1, optim__momentum=0.0)
    config.optim.warmup_steps = 30  # is left out
    (tmp_path / "range").mkdir()
    monkeypatch.setattr(lr_range, "STEPS", 40)
    found = lr_range.lr_range(config, tmp_path / "range")
    rates = np.array(found["lr"])
    assert rates[0] == pytest.approx(1e-4) and (np.diff(np.log(rates)) == pytest.approx(np.log(1e6) / 39))
    assert 10 < len(rates) <= 40 and np.isfinite(found["loss"]).all()
    assert found["suggestion"] is None or found["suggestion"] in found["lr"]
    assert json.loads((tmp_path / "range" / "lr_range.json").read_text()) == found
    with Image.open(tmp_path / "range" / "lr_range.png") as picture:
        assert picture.size[0] > 300
    assert {p.name for p in (tmp_path / "range").iterdir()} == {"checked", "lr_range.json", "lr_range.png"}
    # The same steps again, at the same rates.
    again = lr_range.lr_range(config_for(optim__name="sgd", optim__lr=0.1, optim__momentum=0.0), tmp_path / "again")
    assert again["loss"] == found["loss"]
