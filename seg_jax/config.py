"""Configurations: named choices, checks across fields, JSON round trip.

Everything that can be wrong in a configuration is found here, before any file is read, and is
reported with the value, the rule and the cure.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ml_collections import ConfigDict

T = TypeVar("T")
Config = ConfigDict  # what the rest of the program calls a configuration


class ConfigError(ValueError):
    """A configuration that cannot be run; the message says which field, why, and what to do."""


def did_you_mean(name: str, choices: Collection[str]) -> str:
    """' Did you mean 'x'?' for the choice nearest to `name`, or '' when none is near."""
    near = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def lookup(table: Mapping[str, T], name: str, field: str) -> T:
    """`table[name]`, or a ConfigError that lists the names and the nearest one.

    Args:
      table: the explicit dict of what may be chosen.
      name: the chosen name.
      field: how the user spells the field, such as 'model.name'.
    """
    if name not in table:
        raise ConfigError(
            f"config.{field} = {name!r} is not one of: {', '.join(sorted(table))}.{did_you_mean(name, table)}"
        )
    return table[name]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> {'model.name': 'unet', ...}, in sorted order."""
    flat: dict[str, Any] = {}
    for key in sorted(config):
        value = config[key]
        if isinstance(value, Mapping | ConfigDict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = tuple(value) if isinstance(value, list) else value
    return flat


def to_json(config: ConfigDict) -> str:
    """The configuration as indented JSON text; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> ConfigDict:
    """The inverse of `to_json`: lists come back as tuples, the result is locked."""

    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tuples(item) for key, item in value.items()}
        return tuple(tuples(item) for item in value) if isinstance(value, list) else value

    config = ConfigDict(tuples(json.loads(text)))
    return config.lock()


def load(path: Path) -> ConfigDict:
    """Reads the `config.json` of a run directory.

    Raises:
      ConfigError: there is no such file, or it is not a configuration.
    """
    if not path.is_file():
        raise ConfigError(
            f"{path.parent} is not a run directory: it has no {path.name}. "
            "Pass the --workdir of a run that was started with seg_jax.main."
        )
    try:
        return completed(from_json(path.read_text(encoding="utf-8")))
    except (ValueError, AttributeError) as error:  # cut off, not text, or JSON that is no mapping
        raise ConfigError(f"{path} is not a configuration in JSON ({error}); restore it from a copy.") from error


def defaults() -> dict[str, Any]:
    """{'model.name': 'unet', ...}: every field with its default, which counts as left open."""
    from configs import default

    return flatten(default.get_config())


def completed(recorded: ConfigDict) -> ConfigDict:
    """A recorded configuration with the fields that came later; their defaults leave everything as it was before."""
    there = flatten(recorded)
    with recorded.unlocked():
        for key, value in defaults().items():
            if key not in there:
                *groups, name = key.split(".")
                place = recorded
                for group in groups:
                    if group not in place:
                        place[group] = ConfigDict()
                    place = place[group]
                place[name] = value
    return recorded


def differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], *, free: Collection[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Fields in which two configurations differ: {'optim.lr': (ours, theirs)}.

    Args:
      ours, theirs: configurations (nested mappings or ConfigDicts).
      free: fields that may differ; a trailing '.' frees a whole group ('log.').
    """
    one, two = flatten(ours), flatten(theirs)
    missing = "(absent)"
    return {
        key: (one.get(key, missing), two.get(key, missing))
        for key in sorted(one.keys() | two.keys())
        if one.get(key, missing) != two.get(key, missing)
        and not any(key == f or (f.endswith(".") and key.startswith(f)) for f in free)
    }


def require(holds: bool, config: Mapping[str, Any], field: str, rule: str, cure: str) -> None:
    """Raises a ConfigError that states the value of `field`, the rule and the cure unless `holds`."""
    if not holds:
        value = flatten(config)[field]
        raise ConfigError(f"config.{field} = {value!r}: {rule}. {cure}.")


# What a value must be whatever the others are: (fields, condition, rule, cure).
RULES: tuple[tuple[str, Callable[[Any], bool], str, str], ...] = (
    ("seed", lambda n: n >= 0, "random streams start from a number that is not negative", "Use 0 or a positive number"),
    ("train.batch_size eval.batch_size", lambda n: n > 0, "a batch has at least one image", "Use a positive number"),
    (
        "train.steps train.epochs eval.every_steps eval.every_epochs eval.panels checkpoint.every_steps "
        "early_stop.patience optim.warmup_steps optim.grad_clip optim.weight_decay profile.start_step profile.steps "
        "finetune.freeze_steps finetune.freeze_epochs finetune.lr loss.aux_weight data.pairs.train_size",
        lambda n: n >= 0,
        "this cannot be negative",
        "Use 0 to switch it off",
    ),
    (
        "log.every_steps checkpoint.keep_last train.accumulate train.steps_per_dispatch train.seeds optim.patience "
        "mesh.model mesh.space data.threads "
        "data.prefetch data.synthetic.train_scenes "
        "data.synthetic.val_scenes model.encoder.width",
        lambda n: n >= 1,
        "this is at least 1",
        "Use a positive number",
    ),
    (
        "data.val_share data.pets.val_share data.huggingface.val_share",
        lambda x: 0 <= x < 1,
        "this is a share of the training split, which is not all of it",
        "Use 0.1, or 0 for none",
    ),
    ("eval.overlap", lambda x: 0 <= x < 1, "neighbours share a part of a window, not all of it", "Try 0.25"),
    (
        "eval.scales",
        lambda s: bool(s) and all(0.1 <= x <= 4 for x in s),
        "these are sizes relative to the image, from 0.1 to 4, at least one",
        "Use (1.0,), or (0.75, 1.0, 1.25)",
    ),
    (
        "eval.window",
        lambda s: tuple(s) == (0, 0) or (len(s) == 2 and min(s) >= 32),
        "a window has a height and a width of at least 32 pixels",
        "Use (512, 512), or (0, 0) for the whole image",
    ),
    ("optim.lr", lambda x: x > 0, "the learning rate is positive", "Try 1e-3 with adam or adamw"),
    (
        "loss.weights.cross_entropy loss.weights.focal loss.weights.ohem loss.weights.dice loss.weights.jaccard "
        "loss.weights.tversky loss.weights.lovasz loss.weights.boundary loss.weights.distillation",
        lambda x: 0 <= x < math.inf,
        "the weight of a loss is not negative",
        "Use 1.0, or 0 to leave it out",
    ),
    ("loss.focal.gamma", lambda x: x >= 0, "the exponent is not negative", "Use 2.0"),
    ("loss.focal.alpha", lambda x: x > 0, "it scales the loss", "Use 0.25"),
    ("loss.ohem.share", lambda x: 0 <= x <= 1, "this is a share of the pixels", "Use 0.1"),
    ("loss.ohem.threshold", lambda x: 0 <= x <= 1, "this is a probability", "Use 0.7, or 0 for top-k pixels"),
    ("loss.tversky.alpha loss.tversky.beta", lambda x: x > 0, "errors have a positive weight", "Use 0.3 and 0.7"),
    ("loss.tversky.gamma", lambda x: x > 0, "the exponent is positive", "Use 1.0, or 0.75 for focal Tversky"),
    ("loss.temperature", lambda x: x > 0, "logits are divided by the temperature", "Use 2.0"),
    ("eval.threshold", lambda x: 0 <= x < 1, "this is a probability below 1", "Use 0.5, or 0 to switch it off"),
    (
        "model.encoder.depth",
        lambda n: 0 <= n <= 5,
        "the resolution is halved 1 to 5 times",
        "Use 0 for the usual depth",
    ),
    ("model.encoder.alpha", lambda x: x > 0, "it multiplies the channels", "Use 1.0, 0.5 or 0.35"),
    ("model.channels", lambda n: n >= 0, "it is a number of channels", "Use 0 for the width of the paper"),
    (
        "model.pool_bins",
        lambda bins: len(bins) > 0 and all(isinstance(n, int) and n >= 1 for n in bins),
        "there is at least one grid, of one bin or more along an axis",
        "Use (1, 2, 3, 6)",
    ),
    ("model.head_kernel", lambda n: n in (1, 3), "it is 1 or 3", "Use 1"),
    ("finetune.encoder_lr finetune.layer_decay", lambda x: 0 < x <= 10, "a factor is positive, at most 10", "Use 1.0"),
    ("optim.ema", lambda x: 0 <= x < 1, "the decay of an average lies in [0, 1)", "Use 0.999, or 0 for none"),
    ("optim.factor", lambda x: 0 < x < 1, "it reduces the learning rate", "Use 0.1"),
    (
        "optim.milestones",
        lambda shares: all(0 < x < 1 for x in shares) and list(shares) == sorted(shares),
        "they are shares of the run, in rising order",
        "Use (0.6, 0.85)",
    ),
    (
        "optim.groups",
        lambda groups: all(
            len(g) == 3 and isinstance(g[0], str) and all(isinstance(x, int | float) and x >= 0 for x in g[1:])
            for g in groups
        ),
        "each group is (regular expression, factor of the learning rate, factor of the weight decay)",
        "Use (('encoder/.*', 0.1, 1.0),), or () for none",
    ),
    ("mesh.data", lambda n: n == -1 or n >= 1, "it is a number of devices", "Use -1 for all that the other axes leave"),
    ("optim.momentum", lambda x: 0 <= x < 1, "momentum lies in [0, 1)", "Use 0.9, or 0 to switch it off"),
    ("loss.label_smoothing", lambda x: 0 <= x < 1, "smoothing lies in [0, 1)", "Use 0 to switch it off"),
    (
        "augment.flip augment.vertical_flip augment.grayscale augment.blur augment.cutmix augment.classmix",
        lambda x: 0 <= x <= 1,
        "this is a probability",
        "Use a number in [0, 1]",
    ),
    (
        "model.dropout model.encoder.drop_path",
        lambda x: 0 <= x < 1,
        "this is a probability below 1",
        "Use a number in [0, 1)",
    ),
    (
        "model.encoder.output_stride",
        lambda n: n in (0, 8, 16, 32),
        "it is 8, 16 or 32",
        "Use 0 for the architecture's own",
    ),
    (
        "data.size augment.crop",
        lambda size: (
            len(size) == 2 and all(isinstance(n, int) and n >= 0 for n in size) and (size[0] > 0) == (size[1] > 0)
        ),
        "a size is (height, width) in pixels",
        "Use two positive integers, or (0, 0) for the size of the stored images",
    ),
    (
        "augment.scale",
        lambda scale: len(scale) == 2 and 0 < scale[0] <= scale[1],
        "it is (low, high) with 0 < low <= high",
        "Use (0.5, 2.0)",
    ),
    (
        "augment.translate augment.brightness augment.contrast augment.saturation augment.hue augment.rotate "
        "augment.shear augment.noise",
        lambda x: x >= 0,
        "a strength is not negative",
        "Use 0 to switch it off",
    ),
    (
        "augment.brightness augment.contrast augment.saturation",
        lambda x: x < 1,
        "factors are drawn from 1 +- strength and stay positive",
        "Use a number in [0, 1)",
    ),
    ("augment.shear", lambda x: x < 90, "at 90 degrees nothing is upright any more", "Use 10.0, or 0 to switch it off"),
    (
        "augment.blur_sigma",
        lambda sigma: len(sigma) == 2 and 0 < sigma[0] <= sigma[1],
        "it is (low, high) with 0 < low <= high",
        "Use (0.1, 2.0)",
    ),
    (
        "augment.randaugment",
        lambda pair: len(pair) == 2 and isinstance(pair[0], int) and pair[0] >= 0 and 0 <= pair[1] <= 10,
        "it is (number of operations, magnitude from 0 to 10)",
        "Use (2, 9), or (0, 0) to switch it off",
    ),
    (
        "data.mean data.std",
        lambda x: len(x) in (0, 3),
        "there is one number per colour channel",
        "Use three numbers, or () for those of the weights",
    ),
    ("data.std", lambda x: all(n > 0 for n in x), "images are divided by it", "Use positive numbers in units of 1/255"),
)


def validate(config: ConfigDict, *, tables: Mapping[str, Mapping[str, Any]], devices: int) -> None:
    """Checks every field against its range and against the others, before anything is read.

    Args:
      config: a configuration with the fields of `configs/default.py`.
      tables: field name -> the table it chooses from, such as {'model.name': MODELS}.
      devices: how many devices share a batch.

    Raises:
      ConfigError: naming the field, its value, the rule and the cure.
    """
    flat = flatten(config)
    for field, table in tables.items():
        lookup(table, flat[field], field)
    for fields, condition, rule, cure in RULES:
        for field in fields.split():
            require(condition(flat[field]), config, field, rule, cure)
    for field, parts in (("train.batch_size", config.train.accumulate), ("eval.batch_size", 1)):
        unit = devices * parts
        in_parts = f", in {parts} parts (train.accumulate)" if parts > 1 else ""
        require(
            flat[field] % unit == 0,
            config,
            field,
            f"the batch is split evenly over {devices} devices{in_parts}",
            f"Use a multiple of {unit}, such as {-(-flat[field] // unit) * unit}",
        )
    require(
        config.train.seeds == 1 or config.train.steps_per_dispatch == 1,
        config,
        "train.steps_per_dispatch",
        f"a program has several steps or several networks (train.seeds = {config.train.seeds}), not both",
        "Use 1",
    )
    require(
        config.train.steps > 0 or config.train.epochs > 0,
        config,
        "train.steps",
        f"the run has a length, in train.steps or else in train.epochs (now {config.train.epochs!r})",
        "Set one of them to a positive number",
    )
    weights = config.loss.weights
    require(
        any(weight > 0 for weight in weights.values()),
        config,
        "loss.weights.cross_entropy",
        "at least one of loss.weights is positive",
        "Use 1.0",
    )
    require(
        bool(config.loss.teacher) == (weights.distillation > 0),
        config,
        "loss.teacher",
        f"a teacher goes with a weight of distillation (now {weights.distillation!r}), and a weight with a teacher",
        "Set both loss.teacher=RUN and loss.weights.distillation=1.0, or neither",
    )
    require(
        config.loss.head == "softmax" or config.loss.focal.alpha < 1,
        config,
        "loss.focal.alpha",
        f"with the head {config.loss.head!r} the negative outcome has the weight 1 - alpha",
        "Use 0.25, or 0.5 for equal weights",
    )
    require(
        weights.ohem == 0 or config.loss.ohem.share + config.loss.ohem.threshold > 0,
        config,
        "loss.ohem.share",
        "a share or a threshold says which pixels are hard",
        "Use 0.1",
    )
    require(
        config.checkpoint.metric != "miou_above" or config.eval.threshold > 0,
        config,
        "checkpoint.metric",
        "this metric counts probabilities above eval.threshold, which is 0",
        "Set eval.threshold=0.5, or use miou",
    )
    require(
        not config.eval.submission or config.eval.resolution == "original",
        config,
        "eval.submission",
        "the evaluation server takes predictions at the size of the photographs",
        "Add --config.eval.resolution=original, or leave it empty",
    )
    stride, crop = config.model.encoder.output_stride or 1, flat["augment.crop"]
    require(
        all(n % stride == 0 for n in crop),
        config,
        "augment.crop",
        f"height and width of training crops are multiples of model.encoder.output_stride = {stride}",
        f"Use {tuple(-(-n // stride) * stride for n in crop)}",
    )
    cutmix, classmix = config.augment.cutmix, config.augment.classmix
    require(
        cutmix + classmix <= 1,
        config,
        "augment.classmix",
        f"an image gets one of both at most, so that this and augment.cutmix = {cutmix!r} add up to 1 or less",
        "Use 0.5 for each",
    )
    require(
        not (cutmix or classmix) or config.train.batch_size > 1,
        config,
        "train.batch_size",
        f"augment.cutmix = {cutmix!r} and augment.classmix = {classmix!r} take their parts from the batch's next image",
        "Use 2 or more, or set both to 0",
    )
    require(
        config.data.source not in ("arrays", "cityscapes", "folder", "pairs", "pets") or bool(config.data.dir),
        config,
        "data.dir",
        f"the source {config.data.source!r} reads images and masks from a directory",
        "Pass --config.data.dir=DIR",
    )


def weighting(config: ConfigDict) -> str:
    """The scheme that `loss.class_weights` names, to be replaced by numbers; '' where it holds numbers."""
    weights = config.loss.class_weights
    return weights[0] if len(weights) == 1 and isinstance(weights[0], str) else ""


def check_classes(config: ConfigDict, *, classes: int) -> None:
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
