"""Any architecture on any encoder and any data set, from the command line.

python -m seg_jax.main --config=configs/zoo.py:deeplabv3plus,resnet50,camvid --config.data.dir=DIR --workdir=runs/zoo

Parts that are left out are those of `unet,mobilenetv2,synthetic`. docs/models.md lists architectures and
encoders; the data sets are the keys of `DATASETS`. Measured combinations: docs/models.md.
"""

from collections.abc import Callable, Mapping
from functools import partial

from seg_jax.config import Config, ConfigError, default, did_you_mean, recipe

DEFAULTS = ("unet", "mobilenetv2", "synthetic")


def _cityscapes() -> Config:
    c = default.get_config()
    c.data.source = "cityscapes"
    c.data.cache = "none"  # 2975 images of 2048x1024 are 25 GB
    c.augment.crop = (512, 1024)
    c.augment.scale = (0.5, 2.0)
    c.augment.brightness = c.augment.contrast = c.augment.saturation = 0.3
    c.train.batch_size = 8
    c.train.epochs = 200.0
    c.eval.batch_size = 8
    c.eval.every_epochs = 10.0
    return c


def _pairs() -> Config:
    c = default.get_config()
    c.data.source = "pairs"
    c.augment.scale = (0.75, 1.5)
    c.train.epochs = 50.0
    c.eval.every_epochs = 5.0
    return c


def _pets() -> Config:
    c = default.get_config()
    c.data.source = "pets"
    c.data.size = (256, 256)
    c.augment.scale = (0.75, 1.25)
    c.augment.rotate = 10.0
    c.train.epochs = 30.0
    c.eval.every_epochs = 3.0
    return c


def _folder() -> Config:
    c = default.get_config()
    c.data.source = "folder"
    return c


DATASETS: Mapping[str, Callable[[], Config]] = {
    "camvid": partial(recipe, "camvid_unet"),
    "cityscapes": _cityscapes,
    "folder": _folder,
    "pairs": _pairs,
    "pets": _pets,
    "synthetic": partial(recipe, "synthetic_unet"),
}


def get_config(spec: str = "") -> Config:
    """The configuration of 'architecture,encoder,dataset'."""
    parts = [part.strip() for part in spec.split(",") if part.strip()]
    if len(parts) > len(DEFAULTS):
        raise ConfigError(f"zoo:{spec} has {len(parts)} parts; it is architecture,encoder,dataset.")
    architecture, encoder, dataset = (*parts, *DEFAULTS[len(parts) :])
    if dataset not in DATASETS:
        raise ConfigError(
            f"zoo:{spec}: the data set {dataset!r} is not one of {', '.join(DATASETS)}."
            f"{did_you_mean(dataset, DATASETS)}"
        )
    c = DATASETS[dataset]()
    c.model.name = architecture
    c.model.encoder.name = encoder
    if encoder != "plain":
        c.model.encoder.depth = 0
    if architecture == "unet" and encoder != "plain":
        c.model.decoder_channels = (256, 128, 64, 32)
        c.model.upsampling = "nearest"
    return c
