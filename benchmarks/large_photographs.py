"""Crops of 512x512 of JPEGs of 4000x3000 a second: ours against torch's DataLoader with albumentations.

python -m benchmarks.large_photographs --peer=PYTHON

PYTHON is an interpreter with torch, albumentations and OpenCV; without --peer only ours is measured. The photographs,
8 of about 3.4 MB, and their masks (PNG) are made from a seed. Both sides decode them, bring the shorter side to 256 to
1024 pixels, cut out a crop, flip half of them, and normalise; the peer resizes without antialiasing, its default. The
peer uses one worker process per core, and ours `data.threads` threads and one CPU device per core. The best of
interleaved turns counts. --whole measures ours without libjpeg's scaled decoding.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc()

import jax
import numpy as np
from PIL import Image

from benchmarks.input_pipeline import CORES, MEAN, SECONDS, STD, TURNS, delivered, output
from configs import default
from seg_jax import augment, data, models
from seg_jax.augment.placing import Crops
from seg_jax.data import feed, sampler
from seg_jax.runtime import sharding, xla

COUNT, SIZE, CROP, BATCH, CLASSES = 8, (3000, 4000), 512, 8, 20


def make(root: Path, seed: int = 0) -> None:
    """Writes photographs of smooth colours with noise, and masks of blocks."""
    rng = np.random.default_rng(seed)
    for folder in ("train", "trainannot"):
        (root / folder).mkdir()
    for i in range(COUNT):
        coarse = Image.fromarray(rng.integers(0, 256, (SIZE[0] // 50, SIZE[1] // 50, 3), np.uint8))
        smooth = np.asarray(coarse.resize(SIZE[::-1], Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = (smooth + rng.integers(-12, 13, smooth.shape, np.int16)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(root / "train" / f"{i}.jpg", quality=90)
        blocks = Image.fromarray(rng.integers(0, CLASSES, (SIZE[0] // 100, SIZE[1] // 100), np.uint8))
        blocks.resize(SIZE[::-1], Image.Resampling.NEAREST).save(root / "trainannot" / f"{i}.png")
    names = json.dumps([f"class{i}" for i in range(CLASSES)])
    (root / "class_names.json").write_text(names, encoding="utf-8")


def ours(root: str, *, whole: bool) -> float:
    """Crops a second from files."""
    config = default.get_config()
    config.data.update(source="folder", dir=root, cache="none", check="use", short_side=CROP)
    config.augment.update(crop=(CROP, CROP), scale=(0.5, 2.0))
    mesh = sharding.make_mesh()
    examples = data.load(config, "train")
    if not whole:
        examples = examples.with_enough(CROP * config.augment.scale[1])
    examples = feed.prepare(examples, config.data, mesh, record=Path(root) / "checked.json", any_size=True, seed=0)
    change = augment.build(
        config.augment,
        mean=MEAN,
        groups=mesh.size if jax.default_backend() == "cpu" else BATCH,
        finish=lambda image: models.normalize(image, MEAN, STD),
    )
    warp = jax.jit(change, out_shardings=sharding.split(mesh), compiler_options=xla.for_training())
    order = sampler.training_order(0, start=0, stop=10**6, batch_size=BATCH, n=COUNT)
    crops = Crops(config.augment, seed=0, short_side=CROP)
    return delivered(feed.batches(examples, order, config.data, mesh, fit=crops), warp)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default="", help="an interpreter with torch and albumentations")
    parser.add_argument("--turns", type=int, default=TURNS, help="measurements of each side")
    parser.add_argument("--whole", action="store_true", help="ours decodes every pixel")
    parser.add_argument("--only", default="", help="measure ours with the files in this directory, print JSON")
    options = parser.parse_args()
    if options.only:
        jax.config.update("jax_num_cpu_devices", CORES)
        print(json.dumps(ours(options.only, whole=options.whole)))
        return
    rate, peer, versions, line = 0.0, 0.0, "", ""
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    with tempfile.TemporaryDirectory() as root:
        make(Path(root))
        for _ in range(options.turns):
            command = [sys.executable, "-m", "benchmarks.large_photographs", f"--only={root}"]
            rate = max(rate, json.loads(output(command + ["--whole"] * options.whole)))
            if options.peer:
                script = Path(__file__).with_name("peer_dataloader.py")
                arguments = [root, str(BATCH), str(SECONDS), str(CORES), str(CROP)]
                measured = json.loads(output([options.peer, str(script), *arguments], environment))
                peer = max(peer, measured["files"])
                versions = f"torch {measured['torch']}, albumentations {measured['albumentations']}"
            line = f"{rate:>8.1f} ours" + (f"{peer:>8.1f} peer{rate / peer:>8.2f} x" if peer else "")
            print(line, file=sys.stderr)
    print(f"crops of {CROP}x{CROP} of {SIZE[1]}x{SIZE[0]} a second, batches of {BATCH} {versions}\n{line}")


if __name__ == "__main__":
    main()
