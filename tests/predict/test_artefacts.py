"""Artefacts: what a file is, what it takes, and what it says when it is neither."""

import errno
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from seg_jax.data.labels import LabelTable
from seg_jax.predict import artefacts
from seg_jax.predict.artefacts import Artefact, ArtefactError
from seg_jax.predict.contents import VERSION, members
from seg_jax.predict.sized import at_size
from seg_jax.runtime.errors import MachineError

TABLE = LabelTable(("sky", "road"))


def darkness(image):
    """Probability of the second class: how dark a pixel is."""
    dark = 1 - image[..., :1].astype(np.float32) / 255
    return np.concatenate([1 - dark, dark], axis=-1)


def test_the_callable_checks_its_images():
    artefact = Artefact(TABLE, {"output": "probabilities", "size": None}, darkness)
    assert artefact(np.zeros((1, 2, 2, 3), np.uint8))[0, 0, 0].tolist() == [0, 1]
    for wrong in (np.zeros((2, 2, 3), np.uint8), np.zeros((1, 2, 2, 3), np.float32), np.zeros((0, 2, 2, 3), np.uint8)):
        with pytest.raises(ArtefactError, match=r"must be uint8 \[batch, height, width, 3\]"):
            artefact(wrong)
    assert artefact.size is None and Artefact(TABLE, {"size": [4, 6]}, darkness).size == (4, 6)


def test_at_a_size_the_network_sees_no_other():
    seen = []

    def apply(image):
        seen.append(image.shape)
        return darkness(image)

    image = np.zeros((2, 4, 8, 3), np.uint8)
    image[:, :, 4:] = 255
    found = at_size(apply, (2, 4))(image)
    assert seen == [(2, 2, 4, 3)] and found.shape == (2, 4, 8, 2)
    np.testing.assert_allclose(found[0, 0, (0, -1), 1], [1, 0])
    # Shrunk, the second column sees black, black, black, white with weights 1, 3, 3, 1: 255 / 8 is 32, rounded. Grown
    # again, the middle lies a quarter of the way from that one to its mirror image.
    dark = 1 - 32 / 255
    np.testing.assert_allclose(found[0, 0, 3, 1], 0.75 * dark + 0.25 * (1 - dark), rtol=1e-6)
    labels = at_size(lambda image: darkness(image).argmax(-1).astype(np.uint8), (2, 4))(image)
    assert labels.dtype == np.uint8 and labels[0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_what_is_no_artefact_is_refused(tmp_path):
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(picture)
    (tmp_path / "folder").mkdir()
    for path in (picture, tmp_path / "folder", tmp_path / "nothing"):
        with pytest.raises(ArtefactError, match=r"not an exported network.*formats: stablehlo"):
            artefacts.load(path)


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    foreign = tmp_path / "foreign.zip"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("readme.txt", "nothing of ours")
    with pytest.raises(ArtefactError, match=r"cannot be used .*not written by python -m seg_jax.export"):
        artefacts.load(foreign)
    for name, begin in (("a.onnx", b"\x08\x0a nonsense"), ("a.safetensors", b'\x99\0\0\0\0\0\0\0{"a": ')):
        (tmp_path / name).write_bytes(begin)
        with pytest.raises(ArtefactError, match="cannot be used"):
            artefacts.load(tmp_path / name)


def test_a_newer_file_is_refused(tmp_path, monkeypatch):
    newer = {"format": VERSION + 1, "seg_jax": "9.0"}
    documents = {"metadata.json": json.dumps(newer), "class_names.json": TABLE.to_json()}
    monkeypatch.setattr(artefacts, "_kind", lambda path: "made up")
    monkeypatch.setattr(artefacts, "READERS", {"made up": lambda path: (documents, lambda metadata, table: darkness)})
    with pytest.raises(ArtefactError, match=r"written by seg_jax 9\.0, which is newer"):
        artefacts.load(tmp_path)


METADATA = {
    "format": VERSION,
    "seg_jax": "1.0",
    "output": "probabilities",
    "size": None,
    "trained_size": [32, 48],
    "classes": ["sky", "road"],
    "parameters": 5,
    "config": {"model": {"name": "unet", "encoder": {"name": "plain"}}},
}


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """A function: documents of an artefact -> its loading."""

    def load(metadata, table=None):
        documents = {
            "metadata.json": metadata if isinstance(metadata, str | bytes) else json.dumps(metadata),
            "class_names.json": TABLE.to_json() if table is None else table,
        }
        reader = lambda path: (documents, lambda metadata, table: darkness)  # noqa: E731
        monkeypatch.setattr(artefacts, "_kind", lambda path: "made up")
        monkeypatch.setattr(artefacts, "READERS", {"made up": reader})
        (tmp_path / "a.onnx").touch()
        return artefacts.load(tmp_path / "a.onnx")

    return load


def test_an_error_of_the_machine_is_no_damage(made_up, monkeypatch):
    def refuse(_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(artefacts, "intact", refuse)
    with pytest.raises(MachineError, match=r"a\.onnx could not be read now .*Too many open files"):
        made_up(METADATA)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": "1"}, r'format is "1", not a whole number'),
        (
            {"trained_size": [2**17, 2**17]},
            r"trained_size is \[131072, 131072\], not \[height, width\] of at most 67 mill",
        ),
        ({"trained_size": [65_535, 65_535]}, "trained_size is .* of at most 67 million pixels"),
        ({"size": [0, 5]}, "size is .* or null"),
        ({"size": [65_535, 65_535]}, "size is .* of at most 67 million pixels or null"),
        ({"output": "logits"}, "output is \"logits\", not 'probabilities' or 'label'"),
        ({"parameters": "many"}, "parameters is"),
        ({"config": {"model": {"name": "unet"}}}, r"config\.model has no 'encoder'"),
        ({"config": []}, r"config is \[\], not an object"),
        ({"classes": ["a"] * 8}, "names 2 classes, its network has 8"),
    ],
)
def test_odd_metadata_is_refused_when_it_is_loaded(made_up, change, problem):
    assert made_up(METADATA).output == "probabilities"
    with pytest.raises(ArtefactError, match=rf"a\.onnx.*{problem}.*export it again"):
        made_up(METADATA | change)


@pytest.mark.parametrize("text", ["", "{", "[]", b"\xff\xfe", "[" * 100_000])
def test_metadata_that_is_no_document_is_refused(made_up, text):
    with pytest.raises(ArtefactError, match=r"a\.onnx: metadata\.json.*export it again"):
        made_up(text)
    with pytest.raises(ArtefactError, match=r"a\.onnx cannot be used .*export it again"):
        made_up(METADATA, table=text)


def test_a_network_that_answers_otherwise_than_its_table_says():
    image = np.zeros((1, 2, 2, 3), np.uint8)
    many = LabelTable(tuple(f"class {i}" for i in range(200)))
    with pytest.raises(ArtefactError, match=r"answers with float32 \(1, 2, 2, 2\) .* 200 classes"):
        Artefact(many, {"output": "probabilities", "size": None}, darkness)(image)
    label = {"output": "label", "size": None}
    with pytest.raises(ArtefactError, match=r"answers with uint8 \(1, 2, 2\) .* 2 classes"):
        Artefact(TABLE, label, lambda image: np.full(image.shape[:3], 2, np.uint8))(image)
    assert Artefact(TABLE, label, lambda image: np.ones(image.shape[:3], np.uint8))(image).max() == 1


def test_members_are_read_by_name_and_no_bomb_is_unpacked(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("unused", bytes(2**24))
        archive.writestr("small.json", b"{}", compress_type=zipfile.ZIP_STORED)
        archive.writestr("bomb.json", bytes(2**24))
    tracemalloc.start()
    try:
        assert members(path, "small.json") == {"small.json": b"{}"}
        with pytest.raises(ArtefactError, match=r"a\.zip: bomb\.json would be larger than the file"):
            members(path, "small.json", "bomb.json")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
