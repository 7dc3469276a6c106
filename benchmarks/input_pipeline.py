"""Augmented CamVid pairs a second, delivered in batches: ours against torch's DataLoader with albumentations.

python -m benchmarks.input_pipeline --data=CAMVID --peer=PYTHON [--peer_malloc] [--isa=avx2]

CAMVID is SegNet's layout (480x360), PYTHON an interpreter with torch, albumentations and OpenCV
(`pip install torch albumentations`); without --peer only ours is measured. Both sides read the same files, shuffle,
sample for every pair at 480x360 a flip, scale 0.5 to 2, rotation up to 10 degrees, shift up to a tenth, brightness,
contrast and saturation 0.3 and hue 0.05, and normalise. The peer uses one worker process per core; ours augments on
the device (one CPU device per core) with two batches in flight, as in training. The peer has its own malloc settings,
or ours with --peer_malloc. With --isa=avx2 both compute as on a processor without AVX-512. The best of interleaved
turns counts. Each turn is a process of its own, because XLA's allocations take longer after reading through tf.data.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from seg_jax.runtime import process

if __name__ == "__main__":
    process.tune_malloc()

import jax

from benchmarks.table import ISAS, Row, limit_isa
from configs import default
from seg_jax import augment, data, models
from seg_jax.data import feed, sampler
from seg_jax.runtime import sharding, xla

CORES = len(os.sched_getaffinity(0))
BATCH, SECONDS, TURNS, BATCHES_IN_FLIGHT = 16, 8.0, 3, 2
MEAN, STD = models.IMAGENET


def ours(root: str, cache: str) -> float:
    """Pairs a second with `data.cache`; the clock starts with the second batch."""
    config = default.get_config()
    config.data.source, config.data.labels, config.data.dir, config.data.cache = "folder", "camvid", root, cache
    strengths = {"scale": (0.5, 2.0), "rotate": 10.0, "translate": 0.1, "hue": 0.05}
    config.augment.update({**strengths, "brightness": 0.3, "contrast": 0.3, "saturation": 0.3})
    mesh = sharding.make_mesh()
    with tempfile.TemporaryDirectory() as workdir:
        examples = feed.prepare(data.load(config, "train"), config.data, mesh, record=Path(workdir) / "checked.json")
    groups = mesh.size if jax.default_backend() == "cpu" else BATCH
    change = augment.build(
        config.augment, mean=MEAN, groups=groups, finish=lambda image: models.normalize(image, MEAN, STD)
    )
    warp = jax.jit(change, out_shardings=sharding.split(mesh), compiler_options=xla.for_training())
    order = sampler.training_order(0, start=0, stop=10**6, batch_size=BATCH, n=len(examples), process=0, processes=1)
    return delivered(feed.batches(examples, order, config.data, mesh), warp)


def delivered(batches: Generator[feed.Batch], change: Callable[..., tuple[jax.Array, jax.Array]]) -> float:
    """Pairs a second that `change` (key, **batch) delivers, for `SECONDS` from the second batch on."""
    begin, count = 0.0, 0
    in_flight: deque[tuple[jax.Array, jax.Array]] = deque()
    for number, batch in enumerate(batches):
        in_flight.append(change(jax.random.key(number), **batch))
        if len(in_flight) <= BATCHES_IN_FLIGHT:
            continue
        jax.block_until_ready(in_flight.popleft())
        if not begin:
            begin = time.perf_counter()
            continue
        count += len(batch["label"])
        if time.perf_counter() - begin > SECONDS:
            break
    elapsed = time.perf_counter() - begin
    batches.close()
    return count / elapsed


def output(command: list[str], environment: dict[str, str] | None = None) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def measure(root: str, peer: str, *, peer_malloc: bool = False) -> tuple[dict[str, float], dict[str, float], str]:
    """({origin: pairs a second} of ours, of the peer, its versions), the best of all turns; 0 without a peer."""
    rates = {"files": 0.0, "memory": 0.0}
    theirs = dict(rates)
    versions = ""
    environment = dict(os.environ)
    if not peer_malloc:
        environment.pop("GLIBC_TUNABLES", None)
    for _ in range(TURNS):
        for origin, cache in (("files", "none"), ("memory", "host")):
            command = [sys.executable, "-m", "benchmarks.input_pipeline", f"--data={root}", f"--only={cache}"]
            rates[origin] = max(rates[origin], json.loads(output(command)))
        if peer:
            script = Path(__file__).with_name("peer_dataloader.py")
            command = [peer, str(script), root, str(BATCH), str(SECONDS), str(CORES)]
            measured = json.loads(output(command, environment))
            theirs = {origin: max(theirs[origin], measured[origin]) for origin in theirs}
            versions = f"torch {measured['torch']}, albumentations {measured['albumentations']}"
    return rates, theirs, versions


def rows(root: str, peer: str) -> Iterator[Row]:
    """Pairs a second of both sides."""
    rates, theirs, versions = measure(root, peer)
    for origin, rate in rates.items():
        yield Row("input_pipeline", f"from {origin}", rate, theirs[origin], versions, "pairs/s")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CamVid in SegNet's layout")
    parser.add_argument("--peer", default="", help="an interpreter with torch and albumentations")
    parser.add_argument("--peer_malloc", action="store_true", help="our malloc settings for the peer, too")
    parser.add_argument(
        "--only", choices=("none", "host", "device"), help="measure ours with this data.cache, print JSON"
    )
    parser.add_argument("--isa", choices=ISAS, default="native", help="instructions of both sides; %(default)s")
    options = parser.parse_args()
    limit_isa(options.isa)  # and the turns' processes
    jax.config.update("jax_num_cpu_devices", CORES)
    if options.only:
        print(json.dumps(ours(options.data, options.only)))
        return
    rates, theirs, versions = measure(options.data, options.peer, peer_malloc=options.peer_malloc)
    print(f"augmented pairs of 480x360 a second, batches of {BATCH} {versions}")
    for origin, rate in rates.items():
        ratio = f"{theirs[origin]:>8.0f} peer{rate / theirs[origin]:>8.2f} x" if theirs[origin] else ""
        print(f"  from {origin:<8}{rate:>8.0f} ours{ratio}")


if __name__ == "__main__":
    main()
