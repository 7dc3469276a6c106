"""What tests of whole programs share: a training of seconds as a command line, its data sets, what it leaves behind."""

import json
import socket
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from seg_jax.config import Config
from seg_jax.data.images import write_image
from seg_jax.data.labels.cityscapes import LABELS
from seg_jax.run.opening import equal, open_job

REPOSITORY = Path(__file__).resolve().parents[1]

# ----- the program

TINY = (
    "--config=configs/synthetic_unet.py",
    "--config.data.size=(32, 48)",
    "--config.data.synthetic.train_scenes=24",
    "--config.data.synthetic.val_scenes=6",
    "--config.model.encoder.width=4",
    "--config.model.encoder.depth=2",
    "--config.train.batch_size=4",
    "--config.eval.batch_size=4",
    "--config.train.steps=12",
    "--config.eval.every_steps=6",
    "--config.log.every_steps=3",
    "--config.optim.warmup_steps=2",
)
QUIET = "--config.log.tensorboard=False"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


# ----- its data

CLASSES = ["left", "right", "top"]


def write_pair(root, split, name, seed):
    """Three regions of three colours, in SegNet's layout."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((32, 40), np.uint8)
    mask[:, rng.integers(8, 32) :] = 1
    mask[: rng.integers(4, 16)] = 2
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])
    image = np.clip(colours[mask] + rng.integers(-30, 30, (32, 40, 3)), 0, 255).astype(np.uint8)
    for folder, array in ((split, image), (f"{split}annot", mask)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(root / folder / f"{name}.png")


def write_folder(root):
    """16 pairs to train on and 5 to validate with; returns `root`."""
    for split, count, first in (("train", 16, 0), ("val", 5, 100)):
        for i in range(count):
            write_pair(root, split, f"{i:02}", seed=first + i)
    (root / "class_names.json").write_text(json.dumps(CLASSES))
    return root


# Over the tiny configuration: four steps on such a directory.
OF_FOLDER = {
    "data.source": "folder",
    "data.size": (0, 0),
    "train.steps": 4,
    "eval.every_steps": 2,
    "log.every_steps": 2,
    "log.tensorboard": False,
}


def write_frame(root, split, frame, size, seed):
    """A frame of Cityscapes: stripes of labels, some with instances, and a photograph where each has its colour."""
    rng = np.random.default_rng(seed)
    ids = rng.choice([0, 7, 7, 11, 23, 26, 24], (-(-size[0] // 8), -(-size[1] // 8)))
    ids = ids.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]
    number = (np.indices(size).sum(0) // 32) % 3
    instances = np.where((ids >= 24) & (number > 0), ids * 1000 + number, ids)
    colours = np.array([label.color for label in LABELS])[ids]
    city = root / "gtFine" / split / frame.split("_")[0]
    write_image(city / f"{frame}_gtFine_labelIds.png", ids.astype(np.uint8))
    write_image(city / f"{frame}_gtFine_instanceIds.png", instances.astype(np.uint16))
    photo = np.clip(colours + rng.integers(-20, 20, colours.shape), 0, 255).astype(np.uint8)
    write_image(root / "leftImg8bit" / split / city.name / f"{frame}_leftImg8bit.png", photo)


# ----- the run directory


def manifest(workdir, step):
    """Checksums of all arrays of a checkpoint."""
    return json.loads((workdir / "checkpoints" / str(step) / "meta" / "metadata").read_text())["manifest"]


def lines(workdir, name):
    """[(step, value)] of one metric."""
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [(row["step"], row[name]) for row in rows if name in row]


def array_file(directory, step, item="weights"):
    """The file that holds the largest arrays of one item of a checkpoint."""
    stored = (p for p in (directory / str(step) / item).rglob("*") if p.parent.name == "d")
    return max(stored, key=lambda p: p.stat().st_size)


def flip(path, position, mask=0x10):
    """Damages one byte of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= mask
    path.write_bytes(data)


def trace(config: Config) -> tuple[jax.stages.Lowered, jax.stages.Lowered]:
    """Training and evaluation step of a configuration: all of a dry run but the compilation, which takes minutes."""
    job = open_job(config, (config.data.train_split, config.data.val_split), run=None, weigh=equal)
    train, val = job.splits
    return job.functions.train_step(train.size), job.functions.eval_step(val.size)
