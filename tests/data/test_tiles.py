"""Tiles of large rasters: each an example, read by its window."""

import re

import numpy as np
import pytest

from seg_jax import data
from seg_jax.config import ConfigError, checked
from seg_jax.data import geo
from seg_jax.data.decoder import DataError

rasterio = pytest.importorskip("rasterio", reason="rasterio reads GeoTIFF; it is not installed")


def write(path, values, **profile):
    """Values [bands h w] as a GeoTIFF."""
    count, height, width = values.shape
    place = rasterio.Affine(10, 0, 500000, 0, -10, 4600000)
    path.parent.mkdir(exist_ok=True)
    given = {"crs": "EPSG:32633", "transform": place, "dtype": str(values.dtype)} | profile
    with rasterio.open(path, "w", driver="GTiff", height=height, width=width, count=count, **given) as file:
        file.write(values)


@pytest.fixture
def root(tmp_path):
    """Two scenes of four bands; the first has no data in its first rows."""
    rng = np.random.default_rng(0)
    for i in range(2):
        values = rng.integers(0, 1001, (4, 40, 50)).astype(np.uint16)
        values[:, : 3 * (i == 0)] = 9999
        write(tmp_path / "images" / f"{i}.tif", values, nodata=9999)
        write(tmp_path / "masks" / f"{i}.tif", (values[3:] > 500).astype(np.uint8))
    (tmp_path / "class_names.json").write_text('["low", "high"]')
    return tmp_path


def config_of(root, **fields):
    given = {"source": "folder", "dir": str(root), "images": "images", "masks": "masks", "val_share": 0.5}
    return checked({"data": given | {"tile": (16, 20), "bands": (4, 1), "range": (0, 1000)} | fields})


def test_tiles_cover_the_image():
    windows = geo.tiles((40, 50), (16, 20))
    assert [rows for rows, columns in windows if columns == (0, 20)] == [(0, 16), (16, 32), (24, 40)]
    assert [columns for rows, columns in windows if rows == (0, 16)] == [(0, 20), (20, 40), (30, 50)]
    assert geo.tiles((16, 20), (16, 20)) == [((0, 16), (0, 20))]


def test_each_tile_is_an_example(root):
    splits = [data.load(config_of(root), split) for split in ("train", "val")]
    assert [len(one) for one in splits] == [9, 9]
    assert len({files[0] for one in splits for files in one.files}) == 2
    first = next(one for one in splits if "0.tif" in one.names[0])
    assert first.names[1] == "images/0.tif + masks/0.tif [0, 20]"
    with rasterio.open(root / "images" / "0.tif") as file:
        values = file.read()
    image, label = first.read(4)
    assert first.names[4].endswith("[16, 20]")
    np.testing.assert_allclose(image[..., 0], values[3, 16:32, 20:40] / 1000 * 255, rtol=1e-6)
    np.testing.assert_array_equal(label, values[3, 16:32, 20:40] > 500)
    image, label = first.read(0)
    assert (label[:3] == 255).all() and (label[3:] != 255).all() and not image[:3].any()


def test_tiles_in_other_groups(root):
    config = config_of(root, group=r"\[(\d+),")
    names = [data.load(config, split).names for split in ("train", "val")]
    assert not {re.search(r"\[(\d+)", n)[1] for n in names[0]} & {re.search(r"\[(\d+)", n)[1] for n in names[1]}


def test_pairs_that_have_no_tiles(root):
    write(root / "masks" / "1.tif", np.zeros((1, 40, 49), np.uint8))
    write(root / "images" / "2.tif", np.zeros((4, 10, 50), np.uint16))
    write(root / "masks" / "2.tif", np.zeros((1, 10, 50), np.uint8))
    for i, changed in ((3, {"transform": rasterio.Affine(10, 0, 0, 0, -10, 0)}), (4, {})):
        write(root / "images" / f"{i}.tif", np.zeros((4, 16, 20), np.uint16))
        write(root / "masks" / f"{i}.tif", np.zeros((1 + (i == 4), 16, 20), np.uint8), **changed)
    examples = data.load(config_of(root, val_share=0.0, val_split="train"), "train")
    whys = [bad.why for bad in examples.bad]
    assert len(examples) == 9 and len(whys) == 4
    assert "40x50 pixels (height x width) but its mask" in whys[0]
    assert "has 10x50 pixels (height x width), less than a tile of config.data.tile = (16, 20)" in whys[1]
    assert "georeferenced to different places" in whys[2]
    assert "has 2 bands of uint8" in whys[3]


def test_tiles_need_the_source_folder_and_indices(root):
    config = checked({"data": {"source": "synthetic", "tile": (16, 16)}})
    with pytest.raises(ConfigError, match="the source 'synthetic' reads whole photographs"):
        data.check(config.data)
    with pytest.raises(ConfigError, match="tiles are those of photographs that all have a mask of class indices"):
        data.load(config_of(root, mask_format="color"), "train")


def test_a_damaged_raster(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0 nothing")
    with pytest.raises(DataError, match=r"a\.tif cannot be read"), geo.opened(tmp_path / "a.tif"):
        pass
