"""The data set and its sources."""

from seg_jax.config.fields import Group, Rule, Size, field, group
from seg_jax.config.rules import AT_LEAST_ONE, NOT_NEGATIVE, SIZE

SHARE_OF_SPLIT = Rule(
    lambda x: 0 <= x < 1, "this is a share of the training split, which is not all of it", "Use 0.1, or 0 for none"
)
BANDS = Rule(
    lambda x: all(n >= 1 for n in x) and len(set(x)) == len(x),
    "bands are counted from 1, and each is named once",
    "Use (1, 2, 3, 4), or () for RGB",
)
RANGE = Rule(
    lambda x: len(x) % 2 == 0 and all(low < high for low, high in zip(x[::2], x[1::2], strict=True)),
    "these are pairs of a value and a higher one",
    "Use (0, 4095), or () for photographs of 8 bits",
)


class CityscapesConfig(Group, path="data.cityscapes"):
    """The source `cityscapes`."""

    labels: str = field(
        "trainids",
        "the classes: trainids (19), ids (34), thirty (30), categories (8)",
        names="seg_jax.data.labels.cityscapes:TABLES",
    )
    cities: tuple[str, ...] = field((), "only these cities, such as ('aachen', 'lindau'); (): all")
    coarse: bool = field(False, "the coarse annotations instead of the fine ones")


class PairsConfig(Group, path="data.pairs"):
    """The source `pairs`: photograph and mask side by side in one file."""

    train_size: int = field(0, "number of files of the training split, sampled by the seed; 0: all", NOT_NEGATIVE)
    cleanup: bool = field(False, "repair JPEG's damage along the borders in masks; False: plain nearest colour")


class PetsConfig(Group, path="data.pets"):
    """The source `pets`: the Oxford-IIIT Pets."""

    border: str = field(
        "class",
        "what the border of a pet is: class (its own), pet, background, ignore",
        names="seg_jax.data.labels.pets:TABLES",
    )
    val_share: float = field(0.1, "share of the official trainval list that is the split 'val'", SHARE_OF_SPLIT)


class TfdsConfig(Group, path="data.tfds"):
    """The source `tfds`: TensorFlow Datasets."""

    name: str = field(
        "", "builder of TensorFlow Datasets, such as 'oxford_iiit_pet' or 'cityscapes/semantic_segmentation'"
    )
    data_dir: str = field("", "directory of its prepared sets; '': ~/tensorflow_datasets", free=True)
    image: str = field("", "feature with the photograph; '': the only one with 3 channels")
    mask: str = field("", "feature with the mask; '': the only image with 1 channel")


class HuggingFaceConfig(Group, path="data.huggingface"):
    """The source `huggingface`: a repository or folder of the library `datasets`."""

    name: str = field("", "repository, such as 'owner/name'; '': the saved folder data.dir")
    subset: str = field("", "which of the repository's configurations; '': its default")
    image: str = field("", "column with the photograph; '': found by its name")
    mask: str = field("", "column with the mask; '': found by its name")
    val_share: float = field(
        0.1, "share of the training split to evaluate on, if there is no validation split", SHARE_OF_SPLIT
    )


class SyntheticConfig(Group, path="data.synthetic"):
    """The source `synthetic`: street scenes that are computed."""

    train_scenes: int = field(800, "scenes to learn from", AT_LEAST_ONE)
    val_scenes: int = field(100, "scenes to evaluate on", AT_LEAST_ONE)


class DataConfig(Group, path="data"):
    """The data set, its labels, and how images are read."""

    source: str = field(
        "synthetic",
        "where examples come from, see docs/data.md",
        names="seg_jax.data:SOURCES",
    )
    dir: str = field("", "directory of the data set", free=True)
    train_split: str = field("train", "split to learn from")
    val_split: str = field("val", "split to evaluate on")
    images: str = field(
        "{split}", "directory of photographs below data.dir, or a pattern such as '**/*_photo.jpg' (folder)"
    )
    masks: str = field(
        "{split}annot", "the same of masks; a pair shares what * (a name) and ** (directories) stand for (folder)"
    )
    mask_suffix: str = field(
        "", "what a mask's stem has after the photograph's, such as '_mask', in a directory (folder)"
    )
    mask_format: str = field(
        "auto",
        "what masks hold: index, color, nearest (damaged colours), alpha; auto: as the channels are",
        names="seg_jax.data.labels.masks:FORMATS",
    )
    exif: str = field(
        "by_size",
        "where EXIF turns a photograph and its mask fits both ways: 'turn_both', or 'turn_image' alone; 'by_size': "
        "stop and ask; 'ignore': no file is turned",
        choices=("by_size", "turn_both", "turn_image", "ignore"),
    )
    resize_masks: bool = field(False, "bring masks to the size of their photographs (folder)")
    missing_mask: str = field(
        "refuse",
        "photographs without a mask: 'refuse' them, or all of their pixels are 'background' (folder, annotated)",
        choices=("refuse", "background"),
    )
    val_share: float = field(
        0.0, "share of the training split to evaluate on, where no directory or list has '{split}'", SHARE_OF_SPLIT
    )
    test_share: float = field(0.0, "share of the training split that is the split 'test'", SHARE_OF_SPLIT)
    list: str = field(
        "", "instead of a search: file of 'image mask' lines below data.dir, such as '{split}.txt' (folder)"
    )
    labels: str = field(
        "", "label table: camvid, camvid32, camvid32_to_11, or a class_names.json, .csv, .txt; '': in data.dir"
    )
    merge: str = field(
        "", 'JSON file that unites classes, such as {"vehicle": ["car", "bus"], ..., "ignore": ["void"]}'
    )
    ignore_classes: tuple[str, ...] = field((), "names of classes whose pixels do not count, such as ('Void',)")
    size: Size = field((0, 0), "(height, width) that images are resized to; (0, 0): as stored", SIZE)
    short_side: int = field(
        0,
        "shorter side of images at the scale 1, aspect kept, with data.size=(0, 0) and a crop; 0: as stored",
        NOT_NEGATIVE,
    )
    tile: Size = field(
        (0, 0), "(height, width) of tiles, read window by window from large TIFF (folder); (0, 0): whole files", SIZE
    )
    bands: tuple[int, ...] = field(
        (), "bands that the network sees, counted from 1, such as (1, 2, 3, 4); (): RGB, grey is repeated", BANDS
    )
    range: tuple[float, ...] = field(
        (),
        "(low, high) of stored values that become 0..1, or one pair after the other for each band; (): 8 bits",
        RANGE,
    )
    mean: tuple[float, ...] = field(
        (),
        "subtracted from images in 0..1; (): as the weights were trained with; without weights ImageNet's, and with "
        "data.bands or data.range measured",
    )
    std: tuple[float, ...] = field(
        (),
        "what they are divided by afterwards; (): as for data.mean",
        Rule(lambda x: all(n > 0 for n in x), "images are divided by it", "Use positive numbers up to 1"),
    )
    cache: str = field(
        "host",
        "decode once and keep in memory: 'host', or that of every 'device'; 'none': read at every step",
        choices=("device", "host", "none"),
        free=True,
    )
    cache_bytes: int = field(
        0,
        "most bytes of a split of different sizes in the host cache, the rest is read again; 0: 80 % of the memory",
        NOT_NEGATIVE,
        free=True,
    )
    check: str = field(
        "auto",
        "training examples checked before the first step: 'all', a 'sample' of 1,000, or each on its first 'use'; "
        "'auto': all of up to 20,000, else a sample",
        choices=("auto", "all", "sample", "use"),
    )
    skip_bad: bool = field(False, "leave unusable examples out and list them in the report, instead of stopping")
    megapixels: int = field(
        80,
        "images of more million pixels are refused by their header, before decoding",
        AT_LEAST_ONE,
        free=True,
    )
    threads: int = field(4, "files read and decoded at once", AT_LEAST_ONE, free=True)
    prefetch: int = field(2, "batches prepared ahead when reading from files", AT_LEAST_ONE, free=True)
    cityscapes: CityscapesConfig = group(CityscapesConfig)
    pairs: PairsConfig = group(PairsConfig)
    pets: PetsConfig = group(PetsConfig)
    tfds: TfdsConfig = group(TfdsConfig)
    huggingface: HuggingFaceConfig = group(HuggingFaceConfig)
    synthetic: SyntheticConfig = group(SyntheticConfig)
    # The last one: from here on the name is that of the field.
    group: str = field(
        "", "regular expression on paths: examples where it finds the same text are in one split, such as '^([^/]+)/'"
    )
