"""The formats that data sets are written in: each function writes the missing files atomically, and returns all."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seg_jax.config import ConfigError
from seg_jax.data.checking import in_parallel
from seg_jax.data.examples import Examples
from seg_jax.data.images import ORIENTATION, orientation
from seg_jax.runtime.extras import install_command
from seg_jax.runtime.files import partial, remove_partial, write_bytes

SHARD = 256  # examples in a TFRecord file
TFDS_NAME = "prepared"  # the name under which TensorFlow Datasets finds the TFRecords
PHOTOS = ("jpeg", "png")
ORIGINAL = "original"  # in place of an encoding: the files as they are


@dataclass(frozen=True)
class Job:
    """A data set to write.

    Attributes:
      out: the directory to write to.
      splits: the splits, checked; photographs are RGB in bytes, except where `photos` is `ORIGINAL`.
      photos: the encoding of photographs, one of `PHOTOS`, or `ORIGINAL` (`folder` alone).
      threads: number of examples read and encoded at once.
      upright: whether photographs and masks were turned by EXIF's orientation when they were read.
    """

    out: Path
    splits: tuple[Examples, ...]
    photos: str
    threads: int
    upright: bool = True

    def photo(self, image: np.ndarray) -> bytes:
        """An encoded photograph, uint8 [h w 3]; JPEG has quality 95 and colours at full resolution."""
        return _encoded(image, "JPEG", quality=95, subsampling=0) if self.photos == "jpeg" else _encoded(image, "PNG")

    def files(self, examples: Examples, i: int) -> tuple[bytes, bytes]:
        """Example `i` as two files, a photograph and a PNG of class ids."""
        image, label = examples.read(i)
        if self.photos != ORIGINAL:
            return self.photo(image), _encoded(label, "PNG")
        photo = examples.files[i][0]
        return photo.read_bytes(), _encoded(label, "PNG", **self._orientation(photo))

    def _orientation(self, photo: Path) -> dict[str, Any]:
        """What the mask of a photograph says of its own orientation, so that a reader need not guess it."""
        if (turned := orientation(photo)) == 1:
            return {}
        exif = Image.Exif()
        exif[ORIENTATION] = 1 if self.upright else turned
        return {"exif": exif}


def _encoded(array: np.ndarray, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, form, **options)
    return buffer.getvalue()


def _folder(job: Job) -> list[Path]:
    """`SPLIT/NAME.jpg` with `SPLITannot/NAME.png`."""
    files: list[Path] = []
    for examples in job.splits:
        names = _names(examples)

        def write(i: int, examples: Examples = examples, names: Sequence[str] = names) -> tuple[Path, Path]:
            extensions = {"jpeg": ".jpg", "png": ".png"}
            extension = extensions.get(job.photos) or examples.files[i][0].suffix
            photo = job.out / examples.split / f"{names[i]}{extension}"
            mask = job.out / f"{examples.split}annot" / f"{names[i]}.png"
            if not (photo.is_file() and mask.is_file()):
                for path, content in zip((photo, mask), job.files(examples, i), strict=True):
                    write_bytes(path, content)
            return photo, mask

        for directory in (job.out / examples.split, job.out / f"{examples.split}annot"):
            remove_partial(directory)
        with closing(_over(examples, len(examples), write, job)) as done:
            files += [path for pair in done for path in pair]
    return files


def _names(examples: Examples) -> list[str]:
    """A file name for each example: its photograph's name, preceded by a number if these names are not unique."""
    firsts = [paths[0].stem for paths in examples.files] or [f"{i:06}" for i in range(len(examples))]
    plain = [re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") for name in firsts]
    if len({name.lower() for name in plain}) == len(plain):
        return plain
    return [f"{i:06}_{name}" for i, name in enumerate(plain)]


def _arrays(job: Job) -> list[Path]:
    """`SPLIT_images.npy` and `SPLIT_labels.npy`."""
    files: list[Path] = []
    for examples in job.splits:
        paths = [job.out / f"{examples.split}_{kind}.npy" for kind in ("images", "labels")]
        files += paths
        if all(path.is_file() for path in paths):
            continue
        parts = [partial(path) for path in paths]
        shape = (len(examples), *examples.size)
        forms = ((np.dtype(np.uint8), (*shape, 3)), (examples.table.dtype, shape))
        arrays = [
            np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=whole)
            for part, (dtype, whole) in zip(parts, forms, strict=True)
        ]
        with closing(_over(examples, len(examples), examples.read, job)) as pairs:
            for i, pair in enumerate(pairs):
                for array, pixels in zip(arrays, pair, strict=True):
                    array[i] = pixels
        for array in arrays:
            array.flush()
        del arrays, array
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, path)
    return files


def _tfrecord(job: Job) -> list[Path]:
    """`prepared/1.0.0/prepared-SPLIT.tfrecord-...`, with the metadata that TensorFlow Datasets needs to read it."""
    tfds = _library("tensorflow_datasets", "tfds")
    import tensorflow as tf

    directory = job.out / TFDS_NAME / "1.0.0"
    directory.mkdir(parents=True, exist_ok=True)
    table = job.splits[0].table
    image = tfds.features.Image(shape=(None, None, 3), encoding_format=job.photos)
    mask = tfds.features.LabeledImage(labels=list(table.names), shape=(None, None, 1), dtype=table.dtype.type)
    features = tfds.features.FeaturesDict({"image": image, "segmentation_mask": mask})
    template = tfds.core.ShardedFileTemplate(data_dir=directory, dataset_name=TFDS_NAME, filetype_suffix="tfrecord")
    infos = []
    files: list[Path] = []
    for examples in job.splits:
        shards = [range(i, min(i + SHARD, len(examples))) for i in range(0, len(examples), SHARD)]
        paths = [
            directory / f"{TFDS_NAME}-{examples.split}.tfrecord-{i:05}-of-{len(shards):05}" for i in range(len(shards))
        ]
        files += paths
        for path, rows in zip(paths, shards, strict=True):
            if path.is_file():
                continue
            part = partial(path)

            def record(i: int, examples: Examples = examples, rows: range = rows) -> bytes:
                photo, mask = job.files(examples, rows[i])
                return features.serialize_example({"image": photo, "segmentation_mask": mask})

            with tf.io.TFRecordWriter(str(part)) as file, closing(_over(examples, len(rows), record, job)) as records:
                for content in records:
                    file.write(content)
            os.replace(part, path)
        infos.append(
            tfds.core.SplitInfo(
                name=examples.split,
                shard_lengths=[len(rows) for rows in shards],
                num_bytes=sum(path.stat().st_size for path in paths),
                filename_template=template.replace(split=examples.split),
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=directory, features=features, split_infos=infos, filename_template=template, check_data=False
    )
    return [*files, *directory.glob("[!.]*.json"), *directory.glob("[!.]*.txt")]


def _huggingface(job: Job) -> list[Path]:
    """The folder of `datasets.DatasetDict.save_to_disk`, with the columns `image` and `mask`."""
    datasets = _library("datasets", "huggingface")
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    for examples in job.splits:
        directory = job.out / examples.split
        part = partial(directory)
        if _saved(directory):
            continue
        shutil.rmtree(part, ignore_errors=True)

        def rows(examples: Examples = examples) -> Iterator[dict[str, dict[str, Any]]]:
            with closing(_over(examples, len(examples), lambda i: job.files(examples, i), job)) as files:
                for photo, mask in files:
                    yield {"image": {"bytes": photo, "path": None}, "mask": {"bytes": mask, "path": None}}

        content = datasets.Dataset.from_generator(
            rows, features=features, cache_dir=str(part / "cache"), fingerprint=examples.digest[:16]
        )
        content.save_to_disk(str(part / "saved"))
        del content
        directory.mkdir(exist_ok=True)
        for path in reversed(_saved(part / "saved")):  # last the one that names the others
            os.replace(path, directory / path.name)
        shutil.rmtree(part)
    names = [examples.split for examples in job.splits]
    write_bytes(job.out / "dataset_dict.json", json.dumps({"splits": names}).encode())
    return [job.out / "dataset_dict.json", *(path for name in names for path in _saved(job.out / name))]


def _saved(directory: Path) -> list[Path]:
    """The files of a saved split, first `state.json`, which names the others; [] if one is missing."""
    try:
        parts = json.loads((directory / "state.json").read_text(encoding="utf-8"))["_data_files"]
        names = ("state.json", "dataset_info.json", *(part["filename"] for part in parts))
        files = [directory / name for name in names]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return files if all(path.is_file() for path in files) else []


def _over(examples: Examples, n: int, function: Callable[[int], Any], job: Job) -> Generator[Any]:
    return in_parallel(function, n, threads=job.threads, title=f"writing {examples.split}")


def _library(name: str, extra: str) -> Any:
    try:
        if name == "datasets":
            import datasets

            return datasets
        import tensorflow_datasets

        return tensorflow_datasets
    except ImportError as error:
        raise ConfigError(f"--to={extra} needs {name} ({error}). Add it: {install_command(extra)}") from error


@dataclass(frozen=True)
class Format:
    """A format: what writes it and returns its files, and the flags that read it, with '{out}' for the directory."""

    write: Callable[[Job], list[Path]]
    flags: str


FORMATS: Mapping[str, Format] = {
    "folder": Format(_folder, "--config.data.source=folder --config.data.dir={out}"),
    "arrays": Format(_arrays, "--config.data.source=arrays --config.data.dir={out}"),
    "tfrecord": Format(
        _tfrecord,
        f"--config.data.source=tfds --config.data.dir={{out}} --config.data.tfds.name={TFDS_NAME} "
        "--config.data.tfds.data_dir={out}",
    ),
    "huggingface": Format(_huggingface, "--config.data.source=huggingface --config.data.dir={out}"),
}
