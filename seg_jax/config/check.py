"""A configuration that exists is valid: each field by its own rules, then the fields among each other."""

from __future__ import annotations

import functools
import operator
import pkgutil
from collections.abc import Mapping
from typing import Any

from seg_jax.config.default import Config
from seg_jax.config.errors import ConfigError, lookup
from seg_jax.config.fields import KINDS, Group, Rule, declarations, fits


def require(holds: bool, config: Group, field: str, rule: str, cure: str) -> None:
    """Raises a ConfigError that states the value of `field`, the rule and the cure unless `holds`.

    Args:
      holds: whether the value fits.
      config: the whole, or the group that has the field.
      field: its full name, such as 'optim.lr'.
      rule, cure: what it has to be, and what to do.
    """
    if not holds:
        raise ConfigError(f"config.{field} = {value_of(config, field)!r}: {rule}. {cure}.")


def value_of(config: Group, field: str) -> Any:
    """The value of a field by its full name, from the whole or from the group that has it."""
    inner = field.removeprefix(f"{config.path}.") if config.path else field
    return functools.reduce(operator.getitem, inner.split("."), config)


def checked(config: Config | Mapping[str, Any]) -> Config:
    """A sealed copy of a configuration in which every field fits.

    Args:
      config: a configuration, or a mapping (a dict, a ConfigDict of ml_collections) of the fields that are not default.

    Raises:
      ConfigError: naming the field, its value, the rule and the cure.
    """
    made = draft(config)
    _check(made)
    return made.seal()


def draft(config: Config | Mapping[str, Any]) -> Config:
    """A copy of a configuration that may be changed, unchecked."""
    if isinstance(config, Config):
        return config.copy()
    made = Config()
    made.update(config)
    return made


def with_fields(config: Config, fields: Mapping[str, Any]) -> Config:
    """A checked copy of `config` with other values: `with_fields(config, {"optim.lr": 0.1})`.

    Raises:
      ConfigError: naming the field, its value, the rule and the cure.
    """
    made = config.copy()
    made.update_from_flattened_dict(fields)
    return checked(made)


def _check(config: Config) -> None:
    """Refuses a configuration in which a field does not fit its declaration, or two do not fit each other.

    What needs the devices, the network or the data is checked where those are, see `run.program.check`.

    Raises:
      ConfigError: naming the field, its value, the rule and the cure.
    """
    for field, kind, default, spec in declarations(Config):
        value = value_of(config, field)
        if spec.choices:
            lookup(dict.fromkeys(spec.choices), value, field)
        for rule in spec.rules:
            require(_holds(rule, value), config, field, rule.rule, rule.cure)
        require(fits(value, kind), config, field, f"this is {_in_words(kind)}", f"Use a value such as {default!r}")
    _check_training(config)
    _check_loss(config)
    _check_evaluation(config)
    _check_sizes(config)
    _check_bands(config)
    _check_data(config)
    _check_augmentation(config)


def check_names(config: Config, *, group: str = "") -> None:
    """Refuses a name that is no key of the table that its field names; the tables belong to the rooms above.

    Args:
      config: a checked configuration.
      group: 'data.' looks at the fields of this group alone.

    Raises:
      ConfigError: listing the names, and the nearest one.
    """
    for field, _, default, spec in declarations(Config):
        if spec.names and field.startswith(group):
            value = value_of(config, field)
            names = dict.fromkeys(pkgutil.resolve_name(spec.names))
            lookup(names if default else {"": None, **names}, value, field)


def _holds(rule: Rule, value: Any) -> bool:
    try:
        return rule.holds(value)
    except (IndexError, TypeError, ValueError):  # a tuple of other things, or of fewer
        return False


def _in_words(kind: Any) -> str:
    if kind in KINDS:
        return "a finite number" if kind is float else KINDS[kind]
    return f"a {kind}"


def _check_training(config: Config) -> None:
    train = config.train
    require(
        train.seeds == 1 or train.steps_per_dispatch == 1,
        config,
        "train.steps_per_dispatch",
        f"a program has several steps or several networks (train.seeds = {train.seeds}), not both",
        "Use 1",
    )
    require(
        train.steps > 0 or train.epochs > 0,
        config,
        "train.steps",
        f"the run has a length, in train.steps or else in train.epochs (now {train.epochs!r})",
        "Set one of them to a positive number",
    )


def _check_loss(config: Config) -> None:
    loss, weights = config.loss, config.loss.weights
    require(
        bool(loss.own) or any(weight > 0 for _, weight in weights.items()),
        config,
        "loss.weights.cross_entropy",
        "at least one of loss.weights is positive",
        "Use 1.0",
    )
    require(
        bool(loss.teacher) == (weights.distillation > 0),
        config,
        "loss.teacher",
        f"a teacher goes with a weight of distillation (now {weights.distillation!r}), and a weight with a teacher",
        "Set both loss.teacher=RUN and loss.weights.distillation=1.0, or neither",
    )
    require(
        loss.head == "softmax" or loss.focal.alpha < 1,
        config,
        "loss.focal.alpha",
        f"with the head {loss.head!r} the negative outcome has the weight 1 - alpha",
        "Use 0.25, or 0.5 for equal weights",
    )
    require(
        weights.ohem == 0 or loss.ohem.share + loss.ohem.threshold > 0,
        config,
        "loss.ohem.share",
        "a share or a threshold says which pixels are hard",
        "Use 0.1",
    )


def _check_evaluation(config: Config) -> None:
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


def _check_sizes(config: Config) -> None:
    data, crop = config.data, config.augment.crop
    require(
        not data.short_side or (all(crop) and not any(data.size)),
        config,
        "data.short_side",
        f"photographs that keep their aspect train in crops, and have no data.size (augment.crop = {crop!r}, data.size "
        f"= {data.size!r})",
        "Set augment.crop=(512, 512) and data.size=(0, 0), or use 0",
    )


def _check_bands(config: Config) -> None:
    data, augment = config.data, config.augment
    channels = len(data.bands) or 3

    def one_each(field: str, lengths: tuple[int, ...], what: str) -> None:
        rule = f"there is {what} for each of {channels} channels"
        require(len(data[field]) in lengths, config, f"data.{field}", rule, "Use that many numbers, or ()")

    one_each("range", (0, 2, 2 * channels), "a pair for all, or one")
    one_each("mean", (0, channels), "one number")
    one_each("std", (0, channels), "one number")
    plain = not (data.bands or data.range)
    rule = "its operations are those of RGB in bytes, data.bands and data.range make images of other numbers"
    require(plain or not augment.randaugment[0], config, "augment.randaugment", rule, "Use (0, 0)")
    for field in ("saturation", "hue", "grayscale"):
        rule = f"this changes colours, and data.bands = {data.bands!r} are none"
        cure = "Use 0.0; augment.brightness, contrast, blur and noise take any bands"
        require(channels == 3 or not augment[field], config, f"augment.{field}", rule, cure)


def _check_data(config: Config) -> None:
    fits = config.data.cache != "device" or config.data.check in ("auto", "all")
    rule = "a cache on devices (data.cache = 'device') is filled before the first step, which reads every example"
    require(fits, config, "data.check", rule, "Use all, or data.cache=host")


def _check_augmentation(config: Config) -> None:
    crop = config.augment.crop
    for field, off in (("crop_balance", 0.0), ("cat_max_ratio", 1.0)):
        rule = f"it chooses where crops are (augment.crop = {crop!r}), from labels on the host (data.cache = "
        require(
            config.augment[field] == off or (all(crop) and config.data.cache != "device"),
            config,
            f"augment.{field}",
            f"{rule}{config.data.cache!r})",
            f"Set augment.crop=(512, 512) and data.cache=host, or use {off}",
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
