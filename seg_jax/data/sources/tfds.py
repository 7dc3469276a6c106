"""TensorFlow Datasets: any builder with an image and a segmentation mask.

Examples are read by their position in the prepared files, not as a stream, and `data.images` decodes them like those of
every other source. Once a data set is prepared, reading it needs no TensorFlow.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.config import ConfigError, DataConfig, lookup, require
from seg_jax.data.examples import Examples, Pair
from seg_jax.data.images import DataError, Encoded
from seg_jax.data.labels import LabelTable, pets
from seg_jax.data.labels.builtin import label_table
from seg_jax.data.labels.masks import MaskReader
from seg_jax.data.orientation import read_pair
from seg_jax.runtime import process
from seg_jax.runtime.extras import install_command

Locations = list[tuple[Path, int]]  # a file and the number of the example in it


def load(data: DataConfig, split: str, *, seed: int) -> Examples:
    """The examples of one split, in the order of the prepared files; a missing data set is downloaded first.

    Args:
      data: reads `tfds.name`, the builder with configuration and version, as in 'cityscapes/semantic_segmentation';
        `tfds.data_dir`, the directory of prepared data sets, '': ~/tensorflow_datasets; `tfds.image` and `tfds.mask`,
        the names of the features, '': the only ones of their kind; `labels`, see `label_table`, '': the names of a
        LabeledImage; `mask_format`, see `masks.FORMATS`. For oxford_iiit_pet also `size`, `pets.border` and
        `pets.val_share`, see `sources.pets`.
      split: in the syntax of TensorFlow Datasets, such as 'train[:80%]'; for oxford_iiit_pet also train, val,
        trainval and test, as in `sources.pets`.
      seed: samples the validation part of oxford_iiit_pet.

    Raises:
      ConfigError: there is no name, or no such feature or split, or the library is not installed.
      DataError: the data set cannot be prepared, or its files are damaged or of an unknown format.
      LabelError: there is no label table, or it is invalid.
    """
    rule = "the source 'tfds' reads a builder of TensorFlow Datasets"
    require(bool(data.tfds.name), data, "data.tfds.name", rule, "Use oxford_iiit_pet, say")
    builder = _prepared(data.tfds.name, data.tfds.data_dir)
    image, mask = _features(builder.info.features, data)
    of_pets = builder.name == "oxford_iiit_pet"
    if of_pets and not data.labels:
        table = pets.table(data)
    elif not data.labels and getattr(builder.info.features[mask], "names", None):
        table = LabelTable(names=tuple(builder.info.features[mask].names))
    else:
        table = label_table(None, data.labels)
    stored = pets.LISTS.get(split, split) if of_pets else split
    # The builder calls the official list trainval 'train'.
    locations, fetch = _locations(builder, "train" if stored == "trainval" else stored, data)
    rows = pets.rows(data, split, len(locations), seed=seed) if of_pets else np.arange(len(locations))
    names = tuple(f"{locations[row][0].name}, example {locations[row][1]}" for row in rows)
    parse = _parser(builder.info.features, image, mask)
    reader = MaskReader(table, data.mask_format)

    def files(index: int) -> list[Encoded]:
        name = names[index]
        try:
            example = parse(fetch(int(rows[index])))
        except Exception as error:  # a damaged file: OSError, or errors of the protocol buffers
            raise DataError(f"{name} cannot be read ({error}); prepare {builder.info.full_name} again.") from error
        return [Encoded(example[key], f"{name}, feature {key!r}") for key in (image, mask)]

    def read(index: int) -> Pair:
        photo, values = files(index)
        return read_pair(photo, values, reader, exif=data.exif)

    return Examples(
        split=split,
        names=names,
        read=read,
        table=table,
        files=tuple((locations[row][0],) for row in rows),
        mask=lambda i: reader.stored(files(i)[1]),
    )


def _prepared(name: str, data_dir: str) -> Any:
    """The builder, after downloading and preparing its files if need be."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ConfigError(
            f"config.data.source = 'tfds' needs tensorflow-datasets ({error}). Add it: {install_command('tfds')}"
        ) from error
    try:
        builder = tfds.builder(name, data_dir=Path(data_dir).expanduser() if data_dir else None)
        if not builder.is_prepared():
            process.hide_accelerators_from_tensorflow()
            builder.download_and_prepare()
    except Exception as error:  # builders run code of their own
        reason, *_ = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"config.data.tfds.name = {name!r}: TensorFlow Datasets cannot provide it in "
            f"{data_dir or '~/tensorflow_datasets'} ({reason}). Correct the name, or prepare it there with "
            "tfds.builder(name, data_dir=...).download_and_prepare()."
        ) from error
    return builder


def _features(features: Mapping[str, Any], data: DataConfig) -> tuple[str, str]:
    """The names of the image and of the mask feature."""
    import tensorflow_datasets as tfds

    images = {key: f.shape[-1] for key, f in sorted(features.items()) if isinstance(f, tfds.features.Image)}
    names = []
    for field, named, channels in (("image", data.tfds.image, 3), ("mask", data.tfds.mask, 1)):
        fitting = [key for key in images if images[key] == channels]
        if named:
            lookup(images, named, f"data.tfds.{field}")
        elif len(fitting) != 1:
            raise ConfigError(
                f"config.data.tfds.{field} = '': {len(fitting)} features are images of {channels} channel(s) "
                f"({', '.join(fitting) or 'none'}), so it is unclear which one to use. Name one of: "
                f"{', '.join(images)}."
            )
        names.append(named or fitting[0])
    return names[0], names[1]


def _locations(builder: Any, split: str, data: DataConfig) -> tuple[Locations, Callable[[int], bytes]]:
    """The locations of the examples of a split, and a function index -> serialized example."""
    try:
        instructions = builder.info.splits[split].file_instructions
    except ValueError as error:
        field = "train_split" if split == data.train_split else "val_split"
        raise ConfigError(f"config.data.{field} = {split!r}: {' '.join(str(error).split())}") from error
    locations = [(Path(i.filename), k) for i in instructions for k in range(i.skip, i.skip + i.take)]
    form = builder.info.file_format.value
    if form == "tfrecord":
        spans = {i.filename: _spans(Path(i.filename), i.examples_in_shard) for i in instructions}

        def fetch(row: int) -> bytes:
            path, number = locations[row]
            start, length = spans[str(path)][number]
            with path.open("rb") as file:
                file.seek(start)
                return file.read(length)

        return locations, fetch
    if form == "array_record":
        import tensorflow_datasets as tfds

        records = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        return locations, records.__getitem__
    raise DataError(
        f"{builder.info.full_name} is prepared as {form}, which is not read by example. Prepare it again with "
        "file_format='tfrecord' or 'array_record'."
    )


def _spans(path: Path, count: int) -> list[tuple[int, int]]:
    """(start, length) of every example in a TFRecord file.

    Each is stored as its length (uint64), a checksum of the length (4 bytes), its bytes, and a checksum of the bytes
    (4 bytes); only the lengths are read here.
    """
    spans = []
    try:
        size, position = path.stat().st_size, 0
        with path.open("rb") as file:
            while position < size:
                file.seek(position)
                (length,) = struct.unpack("<Q", file.read(8))
                spans.append((position + 12, length))
                position += 12 + length + 4
    except (OSError, struct.error) as error:
        raise DataError(f"{path} cannot be read ({error}); prepare the data set again.") from error
    if position != size or len(spans) != count:
        raise DataError(f"{path} does not contain the {count} examples that it should; prepare the data set again.")
    return spans


def _parser(features: Mapping[str, Any], image: str, mask: str) -> Callable[[bytes], Mapping[str, bytes]]:
    """A function from a serialized example to the files of its image and mask, still encoded."""
    import tensorflow_datasets as tfds

    selected = tfds.features.FeaturesDict({key: features[key] for key in (image, mask)})
    decoders = {key: tfds.decode.SkipDecoding() for key in selected}
    return lambda serialized: selected.deserialize_example_np(serialized, decoders=decoders)
