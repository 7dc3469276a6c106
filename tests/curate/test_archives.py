"""Cityscapes' archives as they are downloaded."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from seg_jax.curate import propose
from seg_jax.curate.__main__ import configuration, main
from seg_jax.data.images import DataError

# How ml_collections loads a configuration file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def archive(path, kind, suffix, array):
    with zipfile.ZipFile(path, "w") as content:
        for split in ("train", "val", "test"):
            for city in ("a", "b"):
                content.writestr(f"{kind}/{split}/{city}/{city}_0_1_{suffix}.png", png(array))
        content.writestr("README", "text")
        content.writestr(f"{kind}/train/../../../evil_{suffix}.png", png(array))


@pytest.fixture
def root(tmp_path):
    mask = np.full((32, 64), 7, np.uint8)
    mask[:, 30:] = 26
    photo = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    (tmp_path / "zips").mkdir()
    archive(tmp_path / "zips/leftImg8bit_trainvaltest.zip", "leftImg8bit", "leftImg8bit", photo)
    archive(tmp_path / "zips/gtFine_trainvaltest.zip", "gtFine", "gtFine_labelIds", mask)
    return tmp_path / "zips"


def test_prepare_unpacks_what_is_needed(root, tmp_path, capsys):
    with pytest.raises(DataError, match=r"has archives of Cityscapes .*prepare .* unpack what is needed"):
        propose.propose(root)
    assert main(["prepare", str(root), "--to=folder", f"--out={tmp_path / 'city'}"]) == 0
    assert "unpacked 8 files from leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip" in capsys.readouterr().out
    config = configuration([f"--config={tmp_path / 'city/city.py'}"])
    assert (config.data.source, config.data.train_split) == ("folder", "train")
    label = np.asarray(Image.open(tmp_path / "city/trainannot/a_0_1_leftImg8bit.png"))
    assert (label[0, 0], label[0, 30]) == (0, 13)  # road and car
    assert not list(tmp_path.rglob("evil*")) and not list(tmp_path.rglob("test/*"))


def test_what_is_missing_or_damaged_is_named(root, tmp_path, capsys):
    photos = root / "leftImg8bit_trainvaltest.zip"
    photos.write_bytes(photos.read_bytes()[:-60])
    assert main(["prepare", str(root), "--to=folder", f"--out={tmp_path / 'city'}"]) == 1
    assert f"{photos} is damaged" in capsys.readouterr().err
    photos.unlink()
    with pytest.raises(DataError, match=r"but no leftImg8bit_trainvaltest.zip of Cityscapes"):
        propose.propose(root)
