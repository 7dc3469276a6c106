"""Oxford-IIIT Pets from the unpacked official archives `images` and `annotations`.

The lists define the splits: the directories also contain other files, and photographs without a trimap.
"""

from __future__ import annotations

from pathlib import Path

from seg_jax.config import DataConfig, lookup
from seg_jax.data.examples import Bad, Examples, Pair
from seg_jax.data.images import DataError
from seg_jax.data.labels import pets
from seg_jax.data.labels.masks import MaskReader
from seg_jax.data.orientation import read_pair


def load(data: DataConfig, split: str, *, seed: int) -> Examples:
    """The photographs of one split, in the order of the official lists.

    Args:
      data: reads `dir`, which contains `images` and `annotations`; `pets.border`, the meaning of the border: a
        class of its own, pet, background, or ignored; `pets.val_share`, the share of trainval that is 'val'.
      split: trainval and test are the official splits; train and val are two parts of trainval.
      seed: samples the validation part.

    Raises:
      ConfigError: there is no such split or choice, or 'val' is empty.
      DataError: a directory or list is missing or empty.
    """
    official = lookup(pets.LISTS, split, "data.val_split" if split == data.val_split else "data.train_split")
    table = pets.table(data)
    root = Path(data.dir).expanduser()
    images, masks = root / "images", root / "annotations" / "trimaps"
    for directory in (images, masks):
        if not directory.is_dir():
            raise DataError(
                f"{directory} is not a directory. Unpack images.tar.gz and annotations.tar.gz of Oxford-IIIT Pets "
                f"into one directory and pass it as --config.data.dir (now {data.dir!r})."
            )
    listed = _names(root / "annotations" / f"{official}.txt")
    pairs, bad = [], []
    for row in pets.rows(data, split, len(listed), seed=seed):
        name = listed[row]
        pair = (images / f"{name}.jpg", masks / f"{name}.png")
        missing = [str(path) for path in pair if not path.is_file()]
        if missing:
            bad.append(Bad(name, f"is listed, but there is no {' and no '.join(missing)}"))
        else:
            pairs.append(pair)
    reader = MaskReader(table, "index")

    def read(index: int) -> Pair:
        photo, trimap = pairs[index]
        return read_pair(photo, trimap, reader, exif=data.exif)

    return Examples(
        split=split,
        names=tuple(image.stem for image, _ in pairs),
        read=read,
        table=table,
        files=tuple(pairs),
        mask=lambda i: reader.stored(pairs[i][1]),
        bad=tuple(bad),
    )


def _names(path: Path) -> list[str]:
    """The first word of each line; the others are class, species and breed, which segmentation does not need."""
    if not path.is_file():
        raise DataError(f"there is no list {path}; unpack annotations.tar.gz of Oxford-IIIT Pets there.")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    names = [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not names:
        raise DataError(f"{path} lists no photographs; restore it from annotations.tar.gz.")
    return names
