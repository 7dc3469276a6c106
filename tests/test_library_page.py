"""docs/library.md: every block of code runs, on tiny data with tiny networks, and is as short as it promises."""

import re

import jax
import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^## ([^\n]*)\n+```python\n(.*?)```", TEXT, flags=re.M | re.S))

# What makes a block quick: it shall be understood and run, not learn anything.
TINY = {
    'encoder="resnet34"': "encoder_width=2, encoder_depth=1",
    '"model.encoder.name": "resnet34"': '"model.encoder.width": 2, "model.encoder.depth": 1',
    '{"train.epochs": 20': '{"model.encoder.width": 2, "model.encoder.depth": 1, "train.epochs": 20',
    '"train.epochs": 20': '"train.steps": 2, "train.batch_size": 8, "eval.batch_size": 8, "log.tensorboard": False',
    "range(20)": "range(2)",
}


def test_every_block_is_known_and_short():
    assert TEXT.count("```python") == len(BLOCKS)
    lines = {title: len([line for line in code.splitlines() if line.strip()]) for title, code in BLOCKS.items()}
    own = lines.pop("A training loop of one's own")
    assert own < 40 and max(lines.values()) < 15, lines
    assert list(lines) == ["A network", "Prediction", "Training", "Losses and callbacks"]


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the page says is there: images and labels of three classes; the brightness is the class."""
    monkeypatch.chdir(tmp_path)
    labels = np.random.default_rng(0).integers(0, 3, (16, 16, 16))
    labels[:, 0] = 255
    images = np.repeat(np.where(labels == 255, 0, labels * 100)[..., None], 3, -1).astype(np.uint8)
    Image.fromarray(images[0]).save("photo.jpg")
    return {"images": images, "labels": labels}


def run(title, names):
    code = BLOCKS[title]
    for said, tiny in TINY.items():
        code = code.replace(said, tiny)
    exec(compile(code, f"docs/library.md, {title}", "exec"), names)
    return names


def test_a_network(names, capsys):
    found = run("A network", names)
    assert found["logits"].shape == (16, 16, 16, 3) and set(found["variables"]) == {"params", "batch_stats"}
    assert "'sky', 'road', 'car'" in capsys.readouterr().out


def test_prediction(names, trained_run, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "synthetic_unet").symlink_to(trained_run)
    found = run("Prediction", names)
    assert sum(found["result"].shares().values()) == pytest.approx(1) and found["overlay"].dtype == np.uint8


def test_training(names, tmp_path, undrawn):
    found = run("Training", names)
    assert found["predictor"].table.names == ("sky", "road", "car")
    assert (tmp_path / "runs" / "mine" / "report.json").exists()


def test_losses_and_callbacks(names, capsys, undrawn):
    run("Losses and callbacks", names)
    said = capsys.readouterr().out
    assert [float(x) > 0 for x in re.findall(r"^[12] (\S+)$", said, flags=re.M)] == [True] * 3  # two steps, one report


def test_a_loop(names, capsys):
    found = run("A training loop of one's own", names)
    first, second = (float(line.split()[1]) for line in capsys.readouterr().out.splitlines())
    assert second < first and found["label"].shape == (1, 16, 16)
    assert not any(np.isnan(array).any() for array in jax.tree.leaves(found["params"]))
