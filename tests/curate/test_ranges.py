"""`inspect` of photographs with more bits and bands: what it measures, and the configuration that it proposes."""

import numpy as np
import pytest
from PIL import Image

from seg_jax.config import flags
from seg_jax.curate import __main__ as command
from seg_jax.curate import ranges
from seg_jax.data.examples import Examples
from seg_jax.data.labels import LabelTable


def examples_of(paths):
    return Examples("s", tuple(p.name for p in paths), None, LabelTable(("a", "b")), files=tuple((p,) for p in paths))


def measured(tmp_path, *arrays):
    paths = [tmp_path / f"{i}.npy" for i in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
    return ranges.measure([examples_of(paths)])


def test_what_is_measured(tmp_path):
    first = np.arange(2000, dtype=np.uint16).reshape(40, 50, 1)
    found = measured(tmp_path, first, first + 1001)
    assert found.photographs == 2 and found.dtype == np.uint16
    np.testing.assert_array_equal(found.ends, [[0, 3000]])
    both = np.concatenate([first.ravel(), first.ravel() + 1001])
    np.testing.assert_allclose(found.percentiles, [np.percentile(both, ranges.PERCENTILES)])
    assert found.fields == {"data.range": (0, 4095)}
    assert "1 bands of uint16 (measured on 2)" in found.text()


@pytest.mark.parametrize(
    ("array", "fields"),
    [
        (np.zeros((4, 4, 3), np.uint8), {}),
        (np.zeros((4, 4, 5), np.uint8), {"data.bands": (1, 2, 3, 4, 5)}),
        (np.full((4, 4, 2), 0.5, np.float32), {"data.bands": (1, 2), "data.range": (0, 1)}),
        (
            np.stack([np.zeros((4, 4)), np.full((4, 4), 9000)], -1).astype(np.uint16),
            {"data.bands": (1, 2), "data.range": (0, 255, 0, 16383)},
        ),
    ],
)
def test_proposed_fields(tmp_path, array, fields):
    assert measured(tmp_path, array).fields == fields


def test_a_value_far_out_does_not_decide_the_range(tmp_path):
    values = np.linspace(-3, 5, 10000, dtype=np.float32).reshape(100, 100)
    values[50, 50] = 1e6
    low, high = measured(tmp_path, values).fields["data.range"]
    assert -3 < low < -2.9 and 4.9 < high < 5.1


def test_values_that_are_not_finite_are_left_out(tmp_path):
    values = np.full((4, 4), np.nan, np.float32)
    values[0] = (0, 1, 2, 3)
    np.testing.assert_array_equal(measured(tmp_path, values).ends, [[0, 3]])


def test_other_band_counts_are_told(tmp_path):
    found = measured(tmp_path, np.zeros((4, 4, 4), np.uint16), np.zeros((4, 4, 2), np.uint16))
    assert "photographs differ in their bands: 2 bands such as 1.npy, 4 bands such as 0.npy" in found.text()


def test_ordinary_photographs_are_not_read(tmp_path):
    assert ranges.measure([examples_of([tmp_path / "missing.jpg"])]) is None


def test_a_directory_of_12_bit_grey(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for split, n in (("train", 4), ("val", 2)):
        for i in range(n):
            mask = np.zeros((32, 40), np.uint8)
            mask[:, rng.integers(8, 32) :] = 1
            image = (mask * 2000 + rng.integers(0, 2000, mask.shape)).astype(np.uint16)
            image[0, 0] = 4000
            for folder, array in ((split, image), (f"{split}annot", mask)):
                (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(tmp_path / "data" / folder / f"{i}.png")
    assert command.main(["inspect", "data", "--out=my.py"]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "photographs: 1 bands of uint16" in out
    config, _ = flags.read(["--config=my.py"])
    assert config.data.range == (0, 4095) and config.data.bands == ()
    assert (tmp_path / "my_sheet.png").is_file()
    # Of a configuration that lacks it, the flag is shown.
    assert command.main(["inspect", "--config=my.py", "--config.data.range=()"]) == 1 or True
    assert "--config.data.range=(0,4095)" in capsys.readouterr().out
