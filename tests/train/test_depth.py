"""Photographs of other bands and more bits, and more than 255 classes: trained, evaluated, predicted and exported."""

import json

import numpy as np
import pytest
from PIL import Image

import seg_jax.export.__main__ as export_command
from seg_jax.data.images import read_mask
from seg_jax.data.labels import LabelTable
from seg_jax.predict import __main__ as predict
from seg_jax.predict.predictor import Predictor
from seg_jax.run.directory import RunDirectory
from seg_jax.train.loop import train_and_evaluate

LARGE, SMALL = 3900, 3700  # 15.2 and 14.5 as high bytes of 12 bits: 8 bits would hardly tell them apart


def write(root, name, split, image, mask):
    for folder in (split, f"{split}annot"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    np.save(root / split / f"{name}.npy", image)
    Image.fromarray(mask).save(root / f"{split}annot" / f"{name}.png")


def half(rng, size=(32, 40)):
    mask = np.zeros(size, np.uint8)
    mask[:, rng.integers(8, size[1] - 8) :] = 1
    return mask


@pytest.fixture(scope="module")
def multispectral(tmp_path_factory):
    """Five bands of 16 bits; the class shows in the last one alone, within 5 % of its range."""
    root, rng = tmp_path_factory.mktemp("bands"), np.random.default_rng(0)
    for split, n in (("train", 8), ("val", 2)):
        for i in range(n):
            mask = half(rng)
            image = rng.integers(0, 4096, (*mask.shape, 5)).astype(np.uint16)
            image[..., 4] = np.where(mask, LARGE, SMALL)
            write(root, str(i), split, image, mask)
    (root / "class_names.json").write_text('["left", "right"]')
    return root


@pytest.fixture(scope="module")
def fields():
    return {
        "data.source": "folder",
        "data.size": (0, 0),
        "train.steps": 30,
        "optim.lr": 0.02,
        "eval.every_steps": 30,
        "log.tensorboard": False,
    }


@pytest.mark.slow
def test_five_bands_of_16_bits(multispectral, tiny_config, fields, tmp_path, capsys):
    config = tiny_config(
        fields
        | {
            "data.dir": str(multispectral),
            "data.bands": (5, 1),
            "data.range": (3600, 4000, 0, 4095),
            "augment.scale": (0.9, 1.1),
            "augment.contrast": 0.05,
        }
    )
    run = tmp_path / "run"
    train_and_evaluate(config, run)
    recorded = RunDirectory(run).config()
    assert len(recorded.data.mean) == 2 and abs(recorded.data.mean[0] - 0.5) < 0.2  # measured, and kept
    scores = json.loads((run / "report.json").read_text())["scores"]
    assert scores["miou"] > 0.9
    file = multispectral / "val" / "0.npy"
    predictor = Predictor.load(run)
    from_file, from_array = predictor(file), predictor(np.load(file))
    np.testing.assert_array_equal(from_file.label, from_array.label)
    assert (from_file.label == read_mask(multispectral / "valannot" / "0.png")).mean() > 0.9
    assert from_file.overlay().dtype == np.uint8

    out = tmp_path / "masks"
    assert predict.main([str(run), str(multispectral / "val"), f"--out={out}"]) == 0
    np.testing.assert_array_equal(read_mask(out / "0_mask.png"), from_file.label)
    for form in ("stablehlo", "safetensors", "onnx"):
        if form == "onnx":
            pytest.importorskip("onnxruntime", reason="onnxruntime runs ONNX files; it is not installed")
        name = tmp_path / f"network.{form}"
        assert export_command.main([str(run), f"--format={form}", f"--out={name}"]) == 0, capsys.readouterr()
        exported = Predictor.load(name)
        assert exported.depth == predictor.depth
        np.testing.assert_array_equal(exported(file).label, from_file.label)


@pytest.mark.slow
def test_crops_of_any_size_keep_all_bits(multispectral, tiny_config, fields, tmp_path):
    config = tiny_config(
        fields
        | {
            "data.dir": str(multispectral),
            "data.bands": (5,),
            "data.range": (3600, 4000),
            "data.short_side": 24,
            "augment.crop": (32, 32),
        }
    )
    train_and_evaluate(config, tmp_path / "run")
    scores = json.loads((tmp_path / "run" / "report.json").read_text())["scores"]
    assert scores["miou"] > 0.9


# ----- more than 255 classes


@pytest.fixture(scope="module")
def many_classes(tmp_path_factory):
    """300 classes of 16-bit masks, of which 255 and 299 are in the photographs, and ignored pixels of 65535."""
    root, rng = tmp_path_factory.mktemp("many"), np.random.default_rng(0)
    for split, n in (("train", 8), ("val", 2)):
        for i in range(n):
            side = half(rng)
            mask = np.where(side, 299, 255).astype(np.uint16)
            mask[:2] = 65535
            image = np.repeat(np.where(side, 220, 30).astype(np.uint8)[..., None], 3, -1)
            write(root, str(i), split, image, mask)
    (root / "class_names.json").write_text(json.dumps([f"class {i}" for i in range(300)]))
    return root


@pytest.mark.slow
def test_300_classes(many_classes, tiny_config, fields, tmp_path, capsys):
    config = tiny_config(fields | {"data.dir": str(many_classes), "augment.scale": (0.9, 1.1), "augment.classmix": 0.2})
    run = tmp_path / "run"
    train_and_evaluate(config, run)
    report = json.loads((run / "report.json").read_text())
    assert report["scores"]["miou"] > 0.9
    assert [row["name"] for row in report["classes"] if row["iou"] is not None] == ["class 255", "class 299"]
    file = many_classes / "val" / "0.npy"
    result = Predictor.load(run)(file)
    assert result.label.dtype == np.uint16
    truth = read_mask(many_classes / "valannot" / "0.png")
    assert (result.label == truth)[2:].mean() > 0.9

    out = tmp_path / "masks"
    assert predict.main([str(run), str(many_classes / "val"), f"--out={out}"]) == 0
    np.testing.assert_array_equal(read_mask(out / "0_mask.png"), result.label)
    for output in ("probabilities", "label"):
        name = tmp_path / f"{output}.stablehlo"
        options = ["--format=stablehlo", f"--output={output}", f"--out={name}"]
        assert export_command.main([str(run), *options]) == 0, capsys.readouterr()
        np.testing.assert_array_equal(Predictor.load(name)(file).label, result.label)


def test_a_table_of_many_classes():
    table = LabelTable(tuple(map(str, range(300))))
    assert (table.dtype, table.ignored, table.ignore) == (np.uint16, 65535, (65535,))
    stored = np.array([[0, 255, 299, 65535]], np.uint16)
    np.testing.assert_array_equal(table.encode(stored), stored)
    np.testing.assert_array_equal(table.decode(stored), stored)
    assert table.encode(np.array([[3]], np.uint8)).dtype == np.uint16
    assert table.name(255) == "255" and table.name(65535) == "ignore"
    assert LabelTable.from_json(table.to_json()) == table
    small = table.merge({"a": table.names[:299], "b": ("299",)})
    assert (small.dtype, small.ignored) == (np.uint8, 255)
    np.testing.assert_array_equal(small.encode(stored), [[0, 0, 1, 255]])


def test_few_classes_stay_bytes():
    table = LabelTable(tuple(map(str, range(255))))
    assert (table.dtype, table.ignored, table.ignore) == (np.uint8, 255, (255,))
    assert table.encode(np.array([[254, 255]], np.uint16)).dtype == np.uint8
