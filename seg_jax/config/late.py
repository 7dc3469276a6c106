"""Checks of a configuration that wait for what it does not know: the devices, the network, the classes of the data."""

from __future__ import annotations

from seg_jax.config.check import require
from seg_jax.config.default import Config


def check_devices(config: Config, devices: int) -> None:
    """Refuses batches that cannot be split evenly over so many devices, in the parts of `train.accumulate`.

    Raises:
      ConfigError: naming the batch size, and one that can.
    """
    sizes = {"train.batch_size": config.train.accumulate, "eval.batch_size": 1}
    for (field, parts), size in zip(sizes.items(), (config.train.batch_size, config.eval.batch_size), strict=True):
        unit = devices * parts
        in_parts = f", in {parts} parts (train.accumulate)" if parts > 1 else ""
        require(
            size % unit == 0,
            config,
            field,
            f"the batch is split evenly over {devices} devices{in_parts}",
            f"Use a multiple of {unit}, such as {-(-size // unit) * unit}",
        )


def check_network(config: Config, *, reduction: int) -> None:
    """Refuses crops that do not fit the stride of the network.

    Args:
      config: a checked configuration.
      reduction: of the network, see `models.reduction`.

    Raises:
      ConfigError: naming the crop, and one that fits.
    """
    crop, stride = config.augment.crop, config.model.encoder.output_stride or reduction
    unit = min(stride, reduction)  # some encoders have no stride but their own
    what = "the network's reduction" if unit < stride else "model.encoder.output_stride"
    require(
        all(n % unit == 0 for n in crop),
        config,
        "augment.crop",
        f"height and width of training crops are multiples of {what} = {unit}",
        f"Use {tuple(-(-n // unit) * unit for n in crop)}",
    )


def check_new(config: Config, *, images: int) -> None:
    """Refuses what would spoil a new run. Runs that have it are still resumed, evaluated and predicted with.

    Args:
      config: a checked configuration.
      images: over which batch statistics have to be taken at least, see `models.decoders.least_images`.

    Raises:
      ConfigError: naming the seed, the mean or deviation, or the batch size, and what fits.
    """
    require(
        config.seed < 2**31,
        config,
        "seed",
        "random streams start from a number of 31 bits",
        f"Use at most {2**31 - 1}",
    )
    for name in ("mean", "std"):
        require(
            all(0 <= number <= 1 for number in config.data[name]),
            config,
            f"data.{name}",
            "it is that of images in 0..1, which bytes and the values of data.range become",
            "Use numbers in [0, 1]; divide those of images in 0..255 by 255: "
            "123.675, 116.28, 103.53 are 0.485, 0.456, 0.406",
        )
    train = config.train
    together = train.batch_size // train.accumulate
    require(
        together >= images,
        config,
        "train.batch_size",
        f"model.norm = {config.model.norm!r} takes the statistics of {together} image at a time (train.accumulate = "
        f"{train.accumulate}), and {config.model.name} pools it to a single value, whose variance is 0",
        "Use a larger batch, a smaller train.accumulate, or model.norm=group or frozen",
    )


def weighting(config: Config) -> str:
    """The scheme that `loss.class_weights` names, to be replaced by numbers; '' where it holds numbers."""
    weights = config.loss.class_weights
    return weights[0] if len(weights) == 1 and isinstance(weights[0], str) else ""


def check_classes(config: Config, *, classes: int) -> None:
    """Checks the fields that depend on the number of classes of the data.

    Raises:
      ConfigError: `loss.class_weights` has another length, or a negative weight; the binary head has not two classes.
    """
    require(
        config.loss.head != "binary" or classes == 2,
        config,
        "loss.head",
        f"one logit tells two classes apart, the data has {classes}",
        "Use softmax, or sigmoid for classes by themselves",
    )
    weights = config.loss.class_weights
    require(
        bool(weighting(config))
        or (len(weights) in (0, classes) and all(isinstance(w, int | float) and w >= 0 for w in weights)),
        config,
        "loss.class_weights",
        f"there is one non-negative weight for each of the {classes} classes",
        f"Use {classes} numbers, the name of a scheme such as 'median_frequency', or () for none",
    )
