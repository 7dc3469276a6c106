"""GeoTIFF: rows that are read when they are needed, masks with the georeference of their input, nodata."""

import numpy as np
import pytest

from seg_jax.data.decoder import DataError
from seg_jax.data.depth import Depth
from seg_jax.data.images import read_photograph
from seg_jax.data.labels import LabelTable
from seg_jax.predict import geo
from seg_jax.predict.alone import is_alone, predict_alone
from seg_jax.predict.inputs import find
from seg_jax.predict.output import Results
from seg_jax.predict.predictor import Predictor
from seg_jax.predict.work import Work

rasterio = pytest.importorskip("rasterio", reason="rasterio reads GeoTIFF; it is not installed")

TABLE = LabelTable(names=("first", "second"))
DEPTH = Depth(bands=(2, 4), range=(0, 1000))


def by_band(images):
    """The class is the band with the larger value."""
    return images.astype(np.float32) / 255


@pytest.fixture
def path(tmp_path):
    """A raster of four bands of 16 bits with a coordinate system, and no data (9999) in a corner."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 1001, (4, 60, 70)).astype(np.uint16)
    values[:, :5, :7] = 9999
    profile = {"driver": "GTiff", "height": 60, "width": 70, "count": 4, "dtype": "uint16", "nodata": 9999}
    place = rasterio.Affine(10, 0, 500000, 0, -10, 4600000)
    with rasterio.open(tmp_path / "scene.tif", "w", **profile, crs="EPSG:32633", transform=place) as file:
        file.write(values)
    return tmp_path / "scene.tif"


def expected(path):
    with rasterio.open(path) as file:
        values = file.read()
    label = (values[3] > values[1]).astype(np.uint8)
    label[:5, :7] = 255
    return label


def test_rows_equal_the_whole(path):
    photo = read_photograph(path, DEPTH)
    image, missing = photo.pixels, photo.missing
    with geo.opened(path, DEPTH) as rows:
        assert rows.shape == (60, 70, 2)
        np.testing.assert_array_equal(rows[10:20], image[10:20])
        np.testing.assert_array_equal(rows[0:60], image)
        np.testing.assert_array_equal(rows.missing(slice(0, 60)), missing)
        assert rows.missing(slice(5, 60)) is None
    assert missing.sum() == 35


@pytest.mark.parametrize("large", [False, True])
def test_the_mask_is_where_the_raster_is(path, tmp_path, monkeypatch, large):
    predictor = Predictor(by_band, TABLE, None, window=(16, 24), depth=DEPTH)
    monkeypatch.setattr(Predictor, "is_large", lambda self, size: large)
    read = []
    original = geo.Rows.__getitem__
    monkeypatch.setattr(
        geo.Rows, "__getitem__", lambda self, rows: read.append(rows.stop - rows.start) or original(self, rows)
    )
    out = tmp_path / "out"
    results = Results(out, ("mask", "color"), "network")
    named = results.named(find([str(path)], out))
    results.begin(named, overwrite=False)
    work = Work(predictor, results, batch=1, quiet=True)
    ((name, item),) = named
    assert is_alone(item)
    predict_alone(work, name, item, most=0, bar=type("Bar", (), {"update": lambda self: None})())
    work.close()
    with rasterio.open(path) as source, rasterio.open(out / "scene_mask.tif") as mask:
        assert (mask.crs, mask.transform, mask.shape) == (source.crs, source.transform, source.shape)
        assert mask.nodata == 255 and mask.count == 1
        np.testing.assert_array_equal(mask.read(1), expected(path))
    assert (out / "scene_color.png").is_file() is not large
    assert max(read) == (16 if large else 60)  # no more rows than a window has
    assert results.lines[0]["outputs"] == ["scene_mask.tif"] + ["scene_color.png"] * (not large)
    assert sum(results.lines[0]["shares"].values()) == pytest.approx(1, abs=1e-5)
    again = Results(out, ("mask", "color"), "network")
    assert again.has(again.named(find([str(path)], out))[0][0])


def test_another_program_s_mask_beside_a_raster_is_not_overwritten(path, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"{path.stem}_mask.tif").write_bytes(b"theirs")
    results = Results(tmp_path / "out", ("mask",), "network")
    with pytest.raises(DataError, match=r"_mask\.tif exists, and no line"):
        results.begin(results.named(find([str(path)], tmp_path / "out")), overwrite=False)


def test_what_is_a_raster(path, tmp_path):
    assert geo.is_raster(path)
    assert not geo.is_raster(tmp_path / "missing.tif") and not geo.is_raster(3)
    (tmp_path / "broken.tif").write_bytes(b"II*\0 nothing")
    assert not geo.is_raster(tmp_path / "broken.tif")


def test_without_rasterio_the_georeference_is_not_lost_silently(path, monkeypatch):
    monkeypatch.setattr(geo.importlib.util, "find_spec", lambda name: None)
    from PIL import Image

    plain = path.with_name("plain.tif")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(plain, tiffinfo={33550: (1.0, 1.0, 0.0), 33922: (0.0,) * 6})
    with pytest.raises(DataError, match=r"has a georeference, which rasterio keeps. Add it: .*(geo|rasterio)"):
        geo.is_raster(plain)


def test_large_rasters_need_windows(path):
    predictor = Predictor(by_band, TABLE, None, depth=DEPTH)
    with geo.opened(path, DEPTH) as rows, pytest.raises(DataError, match=r"pass in windows\. Add --window=512x512"):
        next(predictor.rows(rows))
