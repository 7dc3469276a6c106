"""The recipes of configs/reference: their settings, and each of them on files in the layout of its source."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from seg_jax import data
from seg_jax.config import Config, ConfigError, flatten, recipe, recipes, with_fields
from seg_jax.data.labels.cityscapes import TABLES
from seg_jax.evaluate.stored import evaluate_checkpoint
from seg_jax.report.__main__ import main as compare
from seg_jax.run import opening
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import sharding
from seg_jax.train.loop import train_and_evaluate
from tests.builders import builder, pets
from tests.runs import REPOSITORY, trace, write_frame

REFERENCES = [name for name in recipes.names() if name.startswith("reference/")]

# What the sources say, besides the defaults.
SETTINGS = {
    "reference/cityscapes_pairs_unet": {
        "data.source": "pairs", "data.labels": "thirty", "data.pairs.train_size": 2097,
        "model.name": "unet", "model.encoder.name": "plain", "optim.name": "adam",
    },
    "reference/cityscapes_ids_unet": {
        "data.source": "cityscapes", "data.cityscapes.labels": "ids", "data.size": (256, 256),
        "model.name": "unet", "model.encoder.name": "plain", "model.encoder.weights": "", "optim.name": "adam",
        "loss.weights.cross_entropy": 1.0, "loss.weights.focal": 0.0, "train.epochs": 50.0, "train.batch_size": 16,
    },
    "reference/cityscapes_ids_danet": {
        "data.source": "cityscapes", "data.cityscapes.labels": "ids", "data.size": (256, 256),
        "model.name": "danet", "model.encoder.name": "efficientnet_b3", "model.encoder.weights": "imagenet",
        "optim.name": "sgd", "optim.lr": 0.2, "optim.momentum": 0.9, "loss.weights.cross_entropy": 0.0,
        "loss.weights.focal": 1.0, "train.epochs": 10.0, "train.batch_size": 16, "eval.threshold": 0.5,
    },
    "reference/road_scenes_deeplabv3plus": {
        "data.source": "huggingface", "data.size": (256, 256), "data.train_split": "train", "data.val_split": "val",
        "model.name": "deeplabv3plus", "model.encoder.name": "resnet101", "model.aspp_rates": (6, 12, 18, 24),
        "train.epochs": 30.0,
    },
    "reference/cityscapes_categories_unet": {
        "data.source": "cityscapes", "data.cityscapes.labels": "categories", "data.size": (256, 256),
        "model.name": "unet", "model.encoder.name": "plain", "train.epochs": 100.0, "checkpoint.metric": "miou",
    },
    "reference/pets_tfds": {
        "data.source": "tfds", "data.tfds.name": "oxford_iiit_pet", "model.name": "unet",
        "model.encoder.name": "mobilenetv2", "model.encoder.weights": "imagenet",
    },
}  # fmt: skip
CHANGES = {  # augmentations that are on
    "reference/cityscapes_pairs_unet": {"rotate", "flip", "scale"},
    "reference/cityscapes_ids_unet": {"rotate", "flip", "brightness"},
}
CLASSES = {"thirty": 30, "ids": 34, "categories": 8}


@pytest.mark.parametrize("name", REFERENCES)
def test_settings_are_those_of_the_source(name):
    config = recipe(name)
    found = flatten(config)
    assert {field: found[field] for field in SETTINGS[name]} == SETTINGS[name]
    assert config.eval.every_epochs == 1.0 and config.eval.every_steps == 0 and config.eval.panels > 0
    if name in CHANGES:
        default = Config().augment
        # The size of what is drawn from is no change by itself.
        on = {field for field, value in config.augment.items() if value != default[field]} | {"flip"}
        assert config.augment.flip > 0 and on == CHANGES[name]
    if name.endswith("deeplabv3plus"):
        assert config.model.dropout > 0
    if name.endswith("categories_unet"):
        assert config.early_stop.patience > 0


def test_classes_are_as_many_as_the_sources_say():
    assert {name: len(TABLES[name]) for name in CLASSES} == CLASSES


def test_pets_takes_what_its_source_compares():
    module = recipe("reference/pets_tfds:segnet,vgg16")
    assert (module.model.name, module.model.encoder.name) == ("segnet", "vgg16")
    assert 0 < module.finetune.freeze_epochs < module.train.epochs and 0 < module.finetune.lr < module.optim.lr
    for spec in ("segformer", "unet,resnet34", "unet,vgg16,pets"):
        with pytest.raises(ConfigError, match=r"it is architecture,encoder, of unet, .* and mobilenet, mobilenetv2"):
            recipe(f"reference/pets_tfds:{spec}")


# ----- on files


def write_pairs(root):
    """Photograph and colour mask side by side in JPEGs of 512x256, as on Kaggle."""
    table = TABLES["thirty"]
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        (root / split).mkdir(parents=True)
        for i in range(1, count + 1):
            colors = np.array(table.colors, np.uint8)[rng.integers(len(table), size=(4, 4))].repeat(64, 0).repeat(64, 1)
            photo = np.clip(colors + rng.integers(-20, 20, colors.shape), 0, 255).astype(np.uint8)
            Image.fromarray(np.concatenate([photo, colors], axis=1)).save(root / split / f"{i}.jpg", quality=95)
    return {"data.dir": str(root), "data.pairs.train_size": 5}


def write_frames(root):
    """The tree of Cityscapes."""
    for split, city, count in (("train", "aachen", 6), ("val", "ulm", 2)):
        for i in range(count):
            write_frame(root, split, f"{city}_{i:06}_000019", (128, 256), seed=i)
    return {"data.dir": str(root)}


def write_dataset(root):
    """A `DatasetDict` with train, val and test."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    datasets.disable_progress_bars()
    rng = np.random.default_rng(0)
    content = {}
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        masks = [rng.integers(3, size=(4, 4)).astype(np.uint8).repeat(64, 0).repeat(64, 1) for _ in range(count)]
        photos = [np.stack([40 + 80 * mask] * 3, -1).astype(np.uint8) for mask in masks]
        columns = {"image": photos, "mask": masks}
        rows = datasets.Dataset.from_dict({key: [Image.fromarray(a) for a in many] for key, many in columns.items()})
        content[split] = rows.cast_column("image", datasets.Image()).cast_column("mask", datasets.Image())
    datasets.DatasetDict(content).save_to_disk(str(root))
    (root / "class_names.json").write_text(json.dumps(["road", "car", "sky"]))
    return {"data.dir": str(root)}


def write_pets(root):
    """oxford_iiit_pet as TensorFlow Datasets prepares it."""
    tfds = pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")
    rng = np.random.default_rng(0)

    def example(split, i):
        mask = rng.integers(1, 4, size=(4, 5, 1)).astype(np.uint8).repeat(32, 0).repeat(32, 1)
        image = np.broadcast_to(60 * mask, (128, 160, 3)).astype(np.uint8)
        box = tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
        more = {"label": 0, "species": 0, "file_name": f"{split}{i}", "head_bbox": box}
        return {"image": image, "segmentation_mask": mask, **more}

    with tfds.core.registered.skip_registration():
        made = builder("oxford_iiit_pet", pets, example, {"train": 10, "test": 2})
    tfds.display_progress_bar(False)
    made(data_dir=root, file_format="tfrecord").download_and_prepare()
    return {"data.tfds.data_dir": str(root)}


WRITERS = {"pairs": write_pairs, "cityscapes": write_frames, "huggingface": write_dataset, "tfds": write_pets}


@pytest.fixture(scope="module")
def on_files(tmp_path_factory):
    """on_files(recipe) -> the fields that set it on small files in its source's layout, without pretrained weights."""
    written = {}

    def make(name):
        source = recipe(name).data.source
        if source not in written:
            written[source] = WRITERS[source](tmp_path_factory.mktemp(source) / "data")
        return {**written[source], "model.encoder.weights": ""}

    return make


@pytest.mark.parametrize("name", REFERENCES)
def test_its_files_are_read(on_files, name):
    config = with_fields(recipe(name), on_files(name))
    train, val = (data.load(config, split) for split in (config.data.train_split, config.data.val_split))
    assert len(train) >= 5 and len(val) >= 1 and train.size == val.size
    assert train.size == ((128, 128) if "pets" in name else (256, 256))
    for examples in (train, val):
        image, label = examples.read(0)
        assert image.shape[:2] == label.shape == train.size and len(set(label.ravel())) > 1
    if config.data.source in ("huggingface", "tfds"):  # which have a third split
        assert len(data.load(config, "test")) == 2


LARGE = ["reference/pets_tfds:fcn8s,vgg16", "reference/pets_tfds:deeplabv3,mobilenet"]
LARGE += ["reference/pets_tfds:pspnet,vgg16", "reference/pets_tfds:segnet,mobilenetv2"]


@pytest.fixture(scope="module")
def program(environment):
    """program(*arguments) -> what `python -m seg_jax.main` prints; on one device, as a user's."""

    def start(*arguments, **fields):
        overrides = [f"--config.{field}={value}" for field, value in fields.items()]
        command = [sys.executable, "-m", "seg_jax.main", *arguments, *overrides]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=560)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return start


@pytest.mark.slow
def test_dry_run(on_files, program):
    name = "reference/cityscapes_categories_unet"
    said = program(f"--config={name}", "--mode=dry_run", **on_files(name))
    assert f"train step: batch {recipe(name).train.batch_size} of 256x256 on 1 devices" in said
    assert re.search(r"total +[\d,]{7,}\n", said) and said.count("peak memory") == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [*REFERENCES, *LARGE])
def test_steps_are_traced_at_their_own_size(on_files, name):
    """All of a dry run but the compilation, which takes minutes: data, checks, and the programs of the whole batch."""
    config = with_fields(recipe(name), on_files(name))
    size = (128, 128) if "pets" in name else (256, 256)
    train_step, eval_step = trace(config)
    assert train_step.in_avals[0][1]["image"].shape == (config.train.batch_size, *size, 3)
    assert eval_step.in_avals[0][2]["label"].shape == (config.eval.batch_size, *size)


SHORT = {
    **{"data.size": (32, 32), "train.batch_size": 2, "eval.batch_size": 2, "log.tensorboard": False},
    **{"train.steps": 10, "eval.every_steps": 5, "log.every_steps": 5},
    "model.encoder.width": 8,  # of the plain encoder, whose 31 million parameters take longer than the images
}


# The recipes' own encoders are traced above; ten steps of a smaller one of their family show the rest.
SMALLER = {"resnet101": "resnet18", "efficientnet_b3": "efficientnet_b0"}


def assert_trained(run):
    rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    assert [row["step"] for row in rows if "val/miou" in row] == [5, 10]
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert run.report.panels() and run.curves_file.is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCES)
def test_ten_steps(on_files, undrawn, name, tmp_path, monkeypatch):
    """In this process, on one of its devices; as the program does it, see below."""
    monkeypatch.setattr(opening, "configured_mesh", lambda config: sharding.make_mesh(1))
    encoder = recipe(name).model.encoder.name
    fields = {**on_files(name), **SHORT, "model.encoder.name": SMALLER.get(encoder, encoder)}
    if recipe(name).finetune.lr:
        fields |= {"finetune.freeze_steps": 5}
    config = with_fields(recipe(name), fields)
    train_and_evaluate(config, tmp_path)
    assert_trained(RunDirectory(tmp_path))
    if config.data.source in ("huggingface", "tfds"):  # which are compared on their test set
        evaluate_checkpoint(with_fields(config, {"data.val_split": "test"}), tmp_path, "best")
        (tested,) = (tmp_path / "eval").glob("test-*")
        assert json.loads((tested / "report.json").read_text())["protocol"]["images"] == 2
        assert compare([str(tested)]) == 0


@pytest.mark.slow
def test_ten_steps_as_a_program(on_files, program, tmp_path):
    name = "reference/cityscapes_pairs_unet"
    program(f"--config={name}", f"--workdir={tmp_path}", **on_files(name), **SHORT)
    assert_trained(RunDirectory(tmp_path))
    program("--mode=eval", f"--workdir={tmp_path}", **{"data.val_split": "train"})
    assert len(list((tmp_path / "eval").glob("train-*"))) == 1
