"""Near duplicates across splits: by hand, on sets whose photographs all resemble one another, and through lint."""

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from seg_jax import data
from seg_jax.config import checked, default
from seg_jax.curate import lint, near

RNG = np.random.default_rng(0)


def scene(seed, size=(48, 64)):
    """A smooth picture of its own."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


def noisy(image, sigma=6.0):
    return np.clip(image + RNG.normal(0, sigma, image.shape), 0, 255).astype(np.uint8)


CHANGES = {
    "saved again": jpeg,
    "noise": noisy,
    "brighter": lambda x: np.clip(x.astype(int) * 0.8 + 30, 0, 255).astype(np.uint8),
    "another size": lambda x: np.asarray(Image.fromarray(x).resize((100, 80), Image.Resampling.BILINEAR)),
    "the next frame": lambda x: np.concatenate([x[:, 1:], x[:, -1:]], axis=1),
    "mirrored": lambda x: jpeg(x[:, ::-1]),
}


def small(split, number, image):
    return near.Small(split, f"{split}{number}", hashlib.sha256(image.tobytes()).digest(), near.reduced(image))


def photos(train, val):
    return [small("train", i, x) for i, x in enumerate(train)] + [small("val", i, x) for i, x in enumerate(val)]


# Among few photographs, of which it is not known how near they usually are, only surer ones count.
@pytest.mark.parametrize(("change", "count"), [*((c, 30) for c in CHANGES), ("saved again", 4), ("mirrored", 4)])
def test_changed_copies_are_found(change, count):
    train, val = [scene(i) for i in range(count)], [scene(100 + i) for i in range(4)]
    val[2] = CHANGES[change](train[3])
    (pair,) = near.pairs(photos(train, val))
    assert (pair.one.file, pair.other.file, pair.mirrored) == ("val2", "train3", change == "mirrored")
    assert pair.correlation > 0.99


def test_copies_and_pairs_of_one_split_are_not_its_matter():
    train, val = [scene(i) for i in range(14)], [scene(3), scene(50), noisy(scene(50))]
    assert list(near.pairs(photos(train, val))) == []
    assert list(near.pairs([])) == []
    assert list(near.pairs(photos(train, []))) == []


def test_pictures_that_all_resemble_one_another_are_not_near():
    chest = scene(0)
    others = [np.clip(chest + (scene(i).astype(float) - 128) * 0.12, 0, 255).astype(np.uint8) for i in range(1, 31)]
    found = list(near.pairs(photos(others[:20], others[20:])))
    usual = np.corrcoef([near.reduced(x).ravel() for x in others])[np.triu_indices(30, k=1)]
    assert np.median(usual) > 0.95 and found == []
    # One of them that is lit otherwise still is.
    (pair,) = near.pairs(photos(others[:20], [*others[20:], CHANGES["brighter"](others[5])]))
    assert (pair.one.file, pair.other.file) == ("val10", "train5")


def test_pictures_of_one_colour_are_not_near():
    flat = [np.full((20, 20, 3), level, np.uint8) for level in range(0, 255, 10)]
    assert list(near.pairs(photos(flat[:15], flat[15:]))) == []


def test_lint(tmp_path):
    for split, seeds in (("train", range(14)), ("val", range(100, 104))):
        for i, seed in enumerate(seeds):
            image = noisy(scene(5)) if (split, i) == ("val", 1) else scene(seed)
            mask = np.zeros(image.shape[:2], np.uint8)
            mask[:, 5 + i :] = 1
            for folder, array in ((split, image), (f"{split}annot", mask)):
                (tmp_path / folder).mkdir(exist_ok=True)
                Image.fromarray(array).save(tmp_path / folder / f"{i:02}.png")
    (tmp_path / "class_names.json").write_text(json.dumps(["a", "b"]))
    config = default.get_config()
    config.data.update({"source": "folder", "dir": str(tmp_path)})
    config = checked(config)
    splits = [data.load(config, name) for name in ("train", "val")]
    findings = lint.lint(splits, threads=2)
    (finding,) = [f for f in findings if f.kind == "near duplicate"]
    assert (finding.split, finding.file) == ("val", str(tmp_path / "val" / "01.png"))
    assert finding.finding.startswith(f"nearly the photograph {tmp_path / 'train' / '05.png'} of the split 'train'")
    assert "data.group" in finding.cure and lint.failed(findings)


def test_a_group_in_two_splits(tmp_path):
    for split, patients in (("train", (0, 1)), ("val", (1, 2))):
        for patient in patients:
            for i in range(2):
                for folder, array in (
                    ("images", scene(100 * patient + 10 * i + len(split))),
                    ("masks", np.eye(48, 64, dtype=np.uint8)),
                ):
                    path = tmp_path / folder / split / f"p{patient}_{i}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(array).save(path)
    (tmp_path / "class_names.json").write_text(json.dumps(["a", "b"]))
    config = default.get_config()
    fields = {"images": "images/{split}", "masks": "masks/{split}", "group": "/(p[0-9]+)_"}
    config.data.update({"source": "folder", "dir": str(tmp_path), **fields})
    config = checked(config)
    splits = [data.load(config, name) for name in ("train", "val")]
    assert not lint.failed(lint.lint(splits, threads=2))
    (finding,) = lint.lint(splits, threads=2, data=config.data)
    assert (finding.kind, finding.file) == ("leakage", str(tmp_path / "images" / "val" / "p1_0.png"))
    assert "the group 'p1' of data.group is in the split 'train', too" in finding.finding
