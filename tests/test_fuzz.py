"""Seeded fuzzing, bounded in time: whatever a file holds, only errors of this program and of the machine come out.

Each test stops after SECONDS or ROUNDS mutants, whichever comes first. SEG_JAX_FUZZ=600 looks for that many seconds.
"""

import io
import json
import os
import random
import time
import zipfile
from pathlib import PurePosixPath

import h5py
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from seg_jax.config import Config, checked, to_json
from seg_jax.config.text import load as load_config
from seg_jax.data.decoder import Encoded, at_most
from seg_jax.data.images import read_image, read_mask
from seg_jax.data.labels import LabelTable
from seg_jax.models.weights import files as weights
from seg_jax.predict import artefacts, contents
from seg_jax.predict.inputs import Found
from seg_jax.predict.output import Results
from seg_jax.report import html
from seg_jax.report.comparison import Comparison, Run
from seg_jax.run import log, record
from seg_jax.run.checkpoint import Checkpoints
from seg_jax.run.directory import RunDirectory
from seg_jax.run.stored import digest
from seg_jax.runtime.errors import SegJaxError

SECONDS = float(os.environ.get("SEG_JAX_FUZZ", "1"))
ROUNDS = 60 if SECONDS <= 1 else 10**9

ODD = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2**31,
    2**70,
    1.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "5",
    "../..",
    "\x1b[31m",
]
ODD += ["a\nb", "\x00", "ü" * 300, [], [[]], [1, 2, 3], {}, {"a": {}}, ["x"] * 300, [None], "NaN", "\ud800"]


def mutants(seed):
    """Random generators until the time is up."""
    end = time.monotonic() + SECONDS
    for number in range(ROUNDS):
        if time.monotonic() > end:
            return
        yield random.Random(f"{seed} {number}")


def damaged(content, rng):
    """Bytes with a few of them changed, cut out, cut off, repeated, or put in."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.5 else rng.randrange(min(len(data) + 1, 64))
        kind = rng.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + 4] = rng.choice((b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", rng.randbytes(4)))
        elif kind == 2:
            del data[at : at + rng.choice((1, 4, 100))]
        elif kind == 3:
            data = data[:at]
        elif kind == 4:
            data[at:at] = rng.randbytes(rng.choice((1, 5, 60)))
        else:
            data[at:at] = data[: rng.randrange(len(data) + 1)][:200]
    return bytes(data)


def changed(value, rng):
    """A JSON value in which one part is another one, is missing, or is there twice."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        copy = dict(value)
        kind = rng.random()
        if kind < 0.1:
            del copy[key]
        elif kind < 0.2:
            copy[str(rng.choice(ODD))] = copy[key]
        else:
            copy[key] = changed(copy[key], rng)
        return copy
    if isinstance(value, list) and value and rng.random() < 0.8:
        copy, at = list(value), rng.randrange(len(value))
        kind = rng.random()
        if kind < 0.15:
            del copy[at]
        elif kind < 0.3:
            copy.insert(at, copy[at])
        else:
            copy[at] = changed(copy[at], rng)
        return copy
    return rng.choice(ODD)


def odd_text(value, rng):
    """The bytes of a JSON document that is odd in its values, or damaged in its bytes."""
    if rng.random() < 0.25:
        return damaged(json.dumps(value).encode(), rng)
    for _ in range(rng.choice((1, 1, 3))):
        value = changed(value, rng)
    return json.dumps(value).encode()


def survives(function, *arguments):
    """Calls a function; whatever else than an error of ours it raises fails the test. Returns None after an error."""
    try:
        return function(*arguments)
    except SegJaxError as error:
        assert str(error)
        return None


# ----- images


def pictures():
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (9, 13, 3), np.uint8))
    frames = [Image.fromarray(rng.integers(0, 255, (9, 13), np.uint8)) for _ in range(3)]
    options = {
        "png": (photo, "PNG", {}),
        "palette": (photo.quantize(8), "PNG", {"transparency": 0}),
        "deep": (Image.fromarray(rng.integers(0, 65535, (9, 13), np.uint16)), "PNG", {}),
        "apng": (frames[0], "PNG", {"save_all": True, "append_images": frames[1:]}),
        "jpeg": (
            photo,
            "JPEG",
            {"exif": b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06"},
        ),
        "cmyk": (photo.convert("CMYK"), "JPEG", {"progressive": True}),
        "tiff": (photo, "TIFF", {}),
        "lzw": (photo, "TIFF", {"compression": "tiff_lzw"}),
        "pages": (frames[0], "TIFF", {"save_all": True, "append_images": frames[1:]}),
        "float": (Image.fromarray(rng.random((9, 13), np.float32)), "TIFF", {}),
        "webp": (photo, "WEBP", {}),
        "gif": (frames[0], "GIF", {"save_all": True, "append_images": frames[1:]}),
        "bmp": (photo, "BMP", {}),
    }
    for name, (image, form, more) in options.items():
        buffer = io.BytesIO()
        image.save(buffer, form, **more)
        yield name, buffer.getvalue()


PICTURES = dict(pictures())


@pytest.mark.filterwarnings("ignore")  # Pillow's, about what is odd in a file
@pytest.mark.parametrize("name", PICTURES)
def test_images(name):
    for rng in mutants(name):
        content = damaged(PICTURES[name], rng)
        for read in (read_image, read_mask):
            with at_most(1):
                image = survives(read, Encoded(content, "image"))
            assert image is None or (image.dtype in (np.uint8, np.uint16) and image.size <= 3 * 10**6)


# ----- documents


def test_configurations(tmp_path):
    whole = json.loads(to_json(Config()))
    path = tmp_path / "config.json"
    for rng in mutants("config"):
        path.write_bytes(odd_text(whole, rng))
        survives(load_config, path)


TABLES = {
    "full.json": LabelTable(("sky", "road", "car"), ignore=(255, 7)).to_json(),
    "names.json": '["sky", "road"]',
    "colors.json": '{"sky": [1, 2, 3], "road": [4, 5, 6]}',
}


@pytest.mark.parametrize("name", TABLES)
def test_label_tables(name, tmp_path):
    path = tmp_path / "class_names.json"
    for rng in mutants(name):
        path.write_bytes(odd_text(json.loads(TABLES[name]), rng))
        table = survives(LabelTable.load, path)
        if table is not None:
            assert 2 <= len(table) <= 255 and all(isinstance(name, str) for name in table.names)
            assert table.colorize(np.arange(len(table), dtype=np.uint8)[None]).shape == (1, len(table), 3)
            assert LabelTable.from_json(table.to_json()) == table


REPORT = {
    "protocol": {"step": 7, "split": "val", "source": "folder"},
    "scores": {"loss": 0.5, "miou": 0.25, "pixel_accuracy": None},
    "classes": [{"name": "sky", "iou": 0.5}, {"name": "road", "iou": None}],
    "interval": {"low": 0.1, "high": 0.4, "level": 0.95},
}
FACTS = {"parameters": 5, "flops_per_image": 1e9, "seconds": 3.5, "peak_memory_bytes": None}


def npz(names, counts):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, names=np.array(json.dumps(names)), counts=counts)
    return buffer.getvalue()


def test_reports_and_their_comparison(tmp_path):
    """Of the files of a run, one is odd; the other run is whole."""
    photo = np.zeros((4, 4 * 6 + 12, 3), np.uint8)
    files = {
        "report.json": REPORT,
        "run.json": FACTS,
        "images.npz": npz(["a", "b"], np.ones((2, 3, 2), np.int64)),
        "class_names.json": json.loads(TABLES["names.json"]),
        "metrics.jsonl": b'{"step": 1, "train/loss": 0.5}\n{"step": 2, "train/loss": 0.25}\n',
        "config.json": {},
    }

    def content(value, rng=None):
        if isinstance(value, bytes):
            return value if rng is None else damaged(value, rng)
        return json.dumps(value).encode() if rng is None else odd_text(value, rng)

    for folder in ("whole", "odd"):
        (tmp_path / folder / "panels").mkdir(parents=True)
        Image.fromarray(photo).save(tmp_path / folder / "panels" / "0.png")
        for name, value in files.items():
            (tmp_path / folder / name).write_bytes(content(value))

    def compare():
        comparison = Comparison([Run.load(str(tmp_path / folder)) for folder in ("whole", "odd")])
        tables = comparison.tables()
        json.dumps(comparison.content())
        return html.text(tables, comparison.notes), html.markdown(tables, comparison.notes, {}), comparison.panels()

    assert compare()
    for rng in mutants("report"):
        name = rng.choice(list(files))
        (tmp_path / "odd" / name).write_bytes(content(files[name], rng))
        survives(compare)
        log.read(tmp_path / "odd")
        (tmp_path / "odd" / name).write_bytes(content(files[name]))


META = {
    "score": 0.5,
    "manifest": {"params/a": "0"},
    "image_size": [32, 48],
    "memory": {"best": 0.5, "best_step": 1, "seconds": 1.5},
    "config": {"seed": 1},
    "classes": TABLES["names.json"],
    "examples": {"train": "x"},
}


def test_meta_data_of_checkpoints_with_the_right_checksum(tmp_path):
    run = RunDirectory(tmp_path)
    file = run.checkpoints_folder / "3" / "meta" / "metadata"
    file.parent.mkdir(parents=True)
    run.table_file.write_text(TABLES["names.json"])
    config = checked({"data": {"mean": (0.5,) * 3, "std": (0.5,) * 3}})
    for rng in mutants("meta"):
        meta = changed(META, rng)
        if isinstance(meta, dict):
            meta["sha256"] = digest(meta)
        file.write_text(json.dumps(meta))
        survives(lambda: run.trained(config, Checkpoints(run.checkpoints_folder).meta(3)))
        survives(run.checkpoints().choose, rng.choice(("best", "last", "3")))
        survives(record.resumable, run)
        survives(record.write_table, run, LabelTable(("sky", "road")))
        run.table_file.write_text(TABLES["names.json"])
    assert run.table().names == ("sky", "road")


LINE = {"name": "x", "state": ["/a/x.png", 1, 2], "identity": "i", "frames": None, "outputs": ["x_mask.png"]}


def test_records_of_predictions(tmp_path):
    photo = tmp_path / "x.png"
    Image.new("L", (2, 2)).save(photo)
    for rng in mutants("record"):
        (tmp_path / "predictions.jsonl").write_bytes(odd_text(LINE, rng) + b"\n")
        results = Results(tmp_path, ["mask"], "i")
        for name, _ in results.named([Found(photo, PurePosixPath("x.png"), "p")]):
            assert not results.has(name)
            assert (tmp_path / name).resolve().is_relative_to(tmp_path.resolve())


# ----- archives


EXPORT = {
    "format": 1,
    "seg_jax": "1.0",
    "output": "probabilities",
    "size": None,
    "trained_size": [32, 48],
    "classes": ["sky", "road"],
    "parameters": 5,
    "config": {"model": {"name": "unet", "encoder": {"name": "plain"}}},
}


def archive(documents, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as written:
        for name, text in documents.items():
            written.writestr(name, text)
    return buffer.getvalue()


def test_archives_of_exports(tmp_path):
    path = tmp_path / "a.stablehlo"
    for rng in mutants("archive"):
        documents = {"metadata.json": odd_text(EXPORT, rng), "class_names.json": TABLES["names.json"].encode()}
        whole = archive({"module.bin": b"nothing", **documents}, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
        path.write_bytes(damaged(whole, rng) if rng.random() < 0.5 else b"PK\x03\x04" + whole[4:])
        survives(artefacts.load, path)
        survives(lambda text: contents.metadata(text, path), documents["metadata.json"])


def weight_files():
    arrays = {"conv.weight": np.ones((2, 3), np.float32), "conv.bias": np.zeros(2, np.float32)}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["layers/conv2d/vars/0"] = arrays["conv.weight"]
        file["layers/conv2d/vars/1"] = arrays["conv.bias"]
    yield "a.safetensors", save(arrays)
    yield "a.weights.h5", buffer.getvalue()
    yield "a.keras", archive({"model.weights.h5": buffer.getvalue(), "config.json": b"{}"})


WEIGHTS = dict(weight_files())


@pytest.mark.parametrize("name", WEIGHTS)
def test_weight_files(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(WEIGHTS[name])
    assert len(weights.read(path).tensors) == 2
    for rng in mutants(name):
        path.write_bytes(damaged(WEIGHTS[name], rng))
        survives(weights.read, path)
