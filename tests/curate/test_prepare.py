"""A data set written anew: every format read back, and no half of one taken for a whole."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from configs import default
from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.curate import formats
from seg_jax.curate.prepare import prepare
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE
from seg_jax.data.prepared import CHECKED, MANIFEST, PREDICTED, SOURCE, UNFINISHED

NAMES = ["sky", "road", "car"]
COUNTS = {"train": 5, "val": 2}


def pair(split, i):
    """A photograph that JPEG keeps nearly as it is, and a mask with stored values 10, 20, 30 and 255."""
    mask = np.full((16, 24), 10, np.uint8)
    mask[:8, i:] = 20
    mask[8:, 12:] = 30
    mask[0] = IGNORE
    return np.full((16, 24, 3), 20 * i + (100 if split == "val" else 0), np.uint8), mask


@pytest.fixture
def config(tmp_path):
    root = tmp_path / "data"
    for split, count in COUNTS.items():
        for i in range(count):
            for place, array in zip((split, f"{split}annot"), pair(split, i), strict=True):
                (root / place).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(root / place / f"n {i}é.png")
    table = {"classes": [{"name": n, "values": [10 * i + 10]} for i, n in enumerate(NAMES)], "ignore": [IGNORE]}
    (root / "class_names.json").write_text(json.dumps(table))
    config = default.get_config()
    config.data.update({"source": "folder", "dir": str(root), "threads": 2})
    return config


def splits(config):
    return [data.load(config, split) for split in (config.data.train_split, config.data.val_split)]


def run(config, out, **options):
    return prepare(splits(config), config, out=out, **{"to": "folder", "photos": "png", **options})


def reader(to, out):
    """The configuration that the flags of a format give."""
    config = default.get_config()
    for flag in formats.FORMATS[to].flags.format(out=out).split():
        field, value = flag.removeprefix("--config.").split("=")
        config.update_from_flattened_dict({field: value})
    return config


def assert_same(config, other, *, tolerance=0):
    for one, two in zip(splits(config), splits(other), strict=True):
        assert two.table.names == one.table.names
        assert len(two) == len(one)
        for i in range(len(one)):
            (image, label), (image_2, label_2) = one.read(i), two.read(i)
            np.testing.assert_allclose(image_2.astype(float), image, atol=tolerance)
            np.testing.assert_array_equal(label_2, label)


def missing(to):
    library = {"tfrecord": "tensorflow_datasets", "huggingface": "datasets"}.get(to)
    if library:
        pytest.importorskip(library)


def quiet(monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("to", formats.FORMATS)
@pytest.mark.parametrize("photos", formats.PHOTOS)
def test_every_format_is_read_back(config, tmp_path, monkeypatch, to, photos):
    missing(to)
    if to == "huggingface":
        quiet(monkeypatch, tmp_path)
    out = tmp_path / "out"
    manifest = run(config, out, to=to, photos=photos)
    lossy = photos == "jpeg" and to != "arrays"
    assert_same(config, reader(to, out), tolerance=2 if lossy else 0)
    assert manifest == json.loads((out / MANIFEST).read_text())
    assert manifest["examples"] == COUNTS
    files = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert files == {*manifest["files"], MANIFEST}  # nothing is left over
    for name, entry in manifest["files"].items():
        content = (out / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("to", formats.FORMATS)
def test_labels_of_more_than_255_classes(tmp_path, monkeypatch, to):
    missing(to)
    if to == "huggingface":
        quiet(monkeypatch, tmp_path)
    root, names = tmp_path / "data", [f"class{i}" for i in range(300)]
    for split, count in COUNTS.items():
        for i in range(count):
            mask = np.arange(16 * 24, dtype=np.uint16).reshape(16, 24) % 300
            mask[0, : i + 1] = 65535
            for place, array in ((split, pair(split, i)[0]), (f"{split}annot", mask)):
                (root / place).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(root / place / f"{i}.png")
    (root / "class_names.json").write_text(json.dumps(names))
    config = default.get_config()
    config.data.update({"source": "folder", "dir": str(root), "threads": 2})
    run(config, tmp_path / "out", to=to)
    other = reader(to, tmp_path / "out")
    assert_same(config, other)
    label = splits(other)[0].read(1)[1]
    assert label.dtype == np.uint16 and label[0].tolist() == [65535] * 2 + list(range(2, 24)) and label.max() == 65535
    if to == "tfrecord":  # for other readers, who would cut 16 bits off to 8
        import tensorflow_datasets as tfds

        features = tfds.builder_from_directory(tmp_path / "out" / "prepared" / "1.0.0").info.features
        assert features["segmentation_mask"].dtype == np.uint16


def test_another_size_and_fewer_classes(config, tmp_path):
    (tmp_path / "groups.json").write_text(json.dumps({"things": ["road", "car"], "sky": ["sky"]}))
    config.data.update({"size": (8, 12), "merge": str(tmp_path / "groups.json")})
    run(config, tmp_path / "out")
    other = reader("folder", tmp_path / "out")
    assert_same(config, other)
    assert splits(other)[0].table.names == ("things", "sky")
    assert splits(other)[0].read(0)[0].shape == (8, 12, 3)


def test_names_of_files(config, tmp_path):
    run(config, tmp_path / "out", photos="jpeg")
    assert sorted(p.name for p in (tmp_path / "out" / "val").iterdir()) == ["n_0_.jpg", "n_1_.jpg"]
    # Where names would be the same, the numbers of the examples tell them apart.
    Image.open(tmp_path / "data" / "val" / "n 0é.png").save(tmp_path / "data" / "val" / "n_0_.png")
    Image.open(tmp_path / "data" / "valannot" / "n 0é.png").save(tmp_path / "data" / "valannot" / "n_0_.png")
    run(config, tmp_path / "more", photos="jpeg")
    names = sorted(p.name for p in (tmp_path / "more" / "val").iterdir())
    assert names == ["000000_n_0_.jpg", "000001_n_1_.jpg", "000002_n_0_.jpg"]


def test_data_without_files(tmp_path):
    config = default.get_config()
    config.data.size = (32, 48)
    config.data.synthetic.train_scenes, config.data.synthetic.val_scenes = 3, 2
    run(config, tmp_path / "out")
    assert_same(config, reader("folder", tmp_path / "out"))


def test_shards(config, tmp_path, monkeypatch):
    missing("tfrecord")
    monkeypatch.setattr(formats, "SHARD", 2)
    run(config, tmp_path / "out", to="tfrecord")
    assert_same(config, reader("tfrecord", tmp_path / "out"))
    assert len(list((tmp_path / "out").rglob("*train.tfrecord-*-of-00003"))) == 3


# ----- interruption


class Stop(Exception):
    pass


def interrupted(config, out, monkeypatch, to, after):
    """Prepares, and is stopped after so many examples were encoded or read."""
    left = [after]

    def counted(function):
        def call(*args):
            left[0] -= 1
            if left[0] < 0:
                raise Stop
            return function(*args)

        return call

    with monkeypatch.context() as patch:
        config.data.threads = 1
        parts = splits(config)
        if to == "arrays":
            original = formats.FORMATS[to].write

            def write(job):
                for examples in job.splits:
                    object.__setattr__(examples, "read", counted(examples.read))
                original(job)

            patch.setitem(formats.FORMATS, to, formats.Format(write, formats.FORMATS[to].flags))
        else:
            patch.setattr(formats.Job, "files", counted(formats.Job.files))
        with pytest.raises(Exception) as stopped:
            prepare(parts, config, to=to, out=out, photos="png")
        chain = [stopped.value, stopped.value.__cause__, stopped.value.__context__]
        assert any(isinstance(error, Stop) for error in chain)


@pytest.mark.parametrize("to", formats.FORMATS)
@pytest.mark.parametrize("after", [0, 3, 6])
def test_an_interrupted_run_goes_on(config, tmp_path, monkeypatch, to, after):
    missing(to)
    if to == "huggingface":
        quiet(monkeypatch, tmp_path)
    monkeypatch.setattr(formats, "SHARD", 2)
    out = tmp_path / "out"
    interrupted(config, out, monkeypatch, to, after)
    assert not (out / MANIFEST).exists()
    with pytest.raises(DataError, match=r"contains part of a data set: .* was interrupted"):
        splits(reader(to, out))
    whole = run(config, tmp_path / "whole", to=to)
    again = run(config, out, to=to)
    assert_same(config, reader(to, out))
    if to != "huggingface":  # whose files contain random names
        assert {n: f for n, f in again["files"].items() if "dataset_info" not in n} == {
            n: f for n, f in whole["files"].items() if "dataset_info" not in n
        }
    assert not (out / UNFINISHED).exists()
    assert {p.name for p in out.rglob(".*")} == set()


def test_what_is_there_is_not_written_again(config, tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupted(config, out, monkeypatch, "folder", 3)
    before = {p: p.stat().st_mtime_ns for p in (out / "train").iterdir()}
    assert len(before) == 3
    (out / "train" / ".n_4_.png.partial-x1y2").write_bytes(b"what a kill left")
    run(config, out)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(list((out / "train").iterdir())) == 5


@pytest.mark.parametrize("to", formats.FORMATS)
def test_hidden_files_of_others_are_left_alone(config, tmp_path, monkeypatch, to):
    missing(to)
    if to == "huggingface":
        quiet(monkeypatch, tmp_path)
    out = tmp_path / "out"
    theirs = [".git", ".gitignore", "prepared/1.0.0/.index.json", "train/.notes"]
    (out / ".git").mkdir(parents=True)
    (out / ".git" / "HEAD").write_text("mine")
    interrupted(config, out, monkeypatch, to, 3)
    for name in theirs[1:]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    for left in (CHECKED, PREDICTED, SOURCE, ".train.partial-"):
        (out / left).mkdir(exist_ok=True)
    (out / ".manifest.json.partial-x1y2").write_bytes(b"what a kill left")
    manifest = run(config, out, to=to)
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob(".*")) == theirs
    assert (out / ".git" / "HEAD").read_text() == "mine"
    assert not [name for name in manifest["files"] if "/." in f"/{name}"]


def test_a_whole_one_is_left_alone(config, tmp_path, monkeypatch):
    first = run(config, tmp_path / "out")
    monkeypatch.setattr(formats.Job, "files", None)  # nothing may be encoded
    assert run(config, tmp_path / "out") == first


def largest(manifest):
    """The name of the largest file besides the class names."""
    files = manifest["files"]
    return max(files.keys() - {"class_names.json"}, key=lambda name: (files[name]["bytes"], name))


@pytest.mark.parametrize("to", formats.FORMATS)
def test_missing_files_are_written_again_and_changed_ones_are_kept(config, tmp_path, monkeypatch, to):
    missing(to)
    if to == "huggingface":
        quiet(monkeypatch, tmp_path)
    out = tmp_path / "out"
    first = run(config, out, to=to)
    big = largest(first)
    content = bytearray((out / big).read_bytes())
    content[len(content) // 2] ^= 1
    (out / big).write_bytes(content)
    (out / "class_names.json").unlink()
    with pytest.raises(DataError, match=rf"1 of {len(first['files'])} files differ from {MANIFEST}, such as {big}\."):
        run(config, out, to=to)
    assert (out / big).read_bytes() == content and not (out / UNFINISHED).exists()
    (out / big).unlink()
    again = run(config, out, to=to)
    assert_same(config, reader(to, out))
    if to != "huggingface":
        assert again == first


@pytest.mark.parametrize("to", formats.FORMATS)
def test_files_that_join_belong_to_their_user(config, tmp_path, monkeypatch, to):
    missing(to)
    if to == "huggingface":
        quiet(monkeypatch, tmp_path)
    out = tmp_path / "out"
    first = run(config, out, to=to)
    theirs = [out / "README.md", out / "train" / "notes.txt"]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (out / largest(first)).unlink()
    again = run(config, out, to=to)
    assert again["files"].keys() == first["files"].keys()
    theirs[0].write_text("more")
    assert run(config, out, to=to) == again
    assert [path.read_text() for path in theirs] == ["more", "mine"]


# ----- what is refused


def test_foreign_directories(config, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(DataError, match=r"full contains thesis.tex and was not written by this command"):
        run(config, tmp_path / "full")
    with pytest.raises(DataError, match=r"thesis.tex is a file; name a directory"):
        run(config, tmp_path / "full" / "thesis.tex")
    (tmp_path / "full" / MANIFEST).write_text("[]")
    with pytest.raises(DataError, match=r"manifest.json was not written by this command, or is damaged"):
        run(config, tmp_path / "full")
    assert sorted(p.name for p in (tmp_path / "full").iterdir()) == [MANIFEST, "thesis.tex"]
    (tmp_path / "empty").mkdir()
    run(config, tmp_path / "empty")


@pytest.mark.parametrize("whole", [True, False])
def test_another_data_set_in_the_same_place(config, tmp_path, monkeypatch, whole):
    out = tmp_path / "out"
    run(config, out) if whole else interrupted(config, out, monkeypatch, "folder", 2)
    config.data.size = (8, 12)
    with pytest.raises(DataError, match=r"prepared from other values of: data.size, splits.train, splits.val"):
        run(config, out)
    config.data.size = (0, 0)
    with pytest.raises(DataError, match=r"from other values of: to\."):
        run(config, out, to="arrays")
    with pytest.raises(DataError, match=r"from other values of: photos\."):
        run(config, out, photos="jpeg")
    shutil.copy(tmp_path / "data" / "train" / "n 0é.png", tmp_path / "data" / "train" / "n 1é.png")
    with pytest.raises(DataError, match=r"from other values of: splits.train\."):
        run(config, out)


@pytest.fixture
def deep(config, tmp_path):
    """Grey photographs of 16 bits."""
    for path in (path for split in COUNTS for path in (tmp_path / "data" / split).iterdir()):
        Image.fromarray(np.full((16, 24), 4000, np.uint16)).save(path)
    config.data.update({"bands": (1,), "range": (0.0, 4095.0)})
    return config


@pytest.mark.parametrize(
    ("to", "photos"), [*((to, "png") for to in formats.FORMATS), ("folder", "jpeg"), ("arrays", "original")]
)
def test_photographs_of_other_bands_or_more_bits_are_kept_or_refused(deep, tmp_path, to, photos):
    cure = rf"1 bands in float32 .*--to={to} --photos={photos}, .*Use --to=folder --photos=original and no data.size"
    with pytest.raises(DataError, match=cure):
        run(deep, tmp_path / "out", to=to, photos=photos)
    assert not (tmp_path / "out").exists()
    run(deep, tmp_path / "out", photos="original")
    other = reader("folder", tmp_path / "out")
    other.data.update({"bands": (1,), "range": (0.0, 4095.0)})
    assert_same(deep, other)


def test_deep_arrays_are_refused(tmp_path):
    np.save(tmp_path / "train_images.npy", np.zeros((2, 8, 8, 4), np.uint16))
    np.save(tmp_path / "train_labels.npy", np.zeros((2, 8, 8), np.uint8))
    (tmp_path / "class_names.json").write_text(json.dumps(NAMES))
    config = default.get_config()
    config.data.update({"source": "arrays", "dir": str(tmp_path), "bands": (1, 2, 3, 4), "range": (0.0, 4095.0)})
    with pytest.raises(DataError, match=r"4 bands in float32 .*cannot be written .*Train on the data set as it is"):
        prepare([data.load(config, "train")], config, to="arrays", out=tmp_path / "out")


def test_unusable_examples(config, tmp_path):
    (tmp_path / "data" / "train" / "n 1é.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 5 examples of the split 'train' cannot be used"):
        run(config, tmp_path / "out")
    config.data.skip_bad = True
    for to in ("folder", "arrays"):
        manifest = run(config, tmp_path / to, to=to)
        assert manifest["examples"] == {"train": 4, "val": 2}
        (left,) = manifest["left_out"]["train"]
        assert "n 1é.png is not an image" in left["why"]
        assert len(splits(reader(to, tmp_path / to))[0]) == 4


def test_arrays_are_of_one_size(config, tmp_path):
    for place in ("train", "trainannot"):
        Image.open(tmp_path / "data" / place / "n 4é.png").resize((20, 20), 0).save(
            tmp_path / "data" / place / "n 4é.png"
        )
    with pytest.raises(DataError, match=r"has 20x20 pixels .* set config.data.size to bring all to one size"):
        run(config, tmp_path / "arrays", to="arrays")
    run(config, tmp_path / "folder")  # which may have many
    config.data.size = (16, 24)
    run(config, tmp_path / "sized", to="arrays")


def test_unknown_format(config, tmp_path):
    with pytest.raises(ConfigError, match=r"'array' is not one of: arrays, folder, huggingface, tfrecord.*'arrays'\?"):
        run(config, tmp_path / "out", to="array")
    assert not (tmp_path / "out").exists()
