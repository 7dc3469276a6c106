"""Which runs are compared: a grid over fields, a random part of it, or a list; each with a name and a configuration."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from seg_jax import models
from seg_jax.config import Config, ConfigError, checked
from seg_jax.config import flags as config_flags
from seg_jax.run import pretrained, program
from seg_jax.runtime.errors import SegJaxError

MOST_CHARACTERS = 100  # of a name, which is that of a directory
RESERVED = ("", ".", "..", "comparison")  # names that no run directory can have
MOST_COMBINATIONS = 100_000  # of a grid, which is made before anything is drawn from it

Fields = Mapping[str, str]  # field of the configuration -> its value, as text of the command line


@dataclass(frozen=True)
class Planned:
    """A run to be compared with others.

    Attributes:
      name: that of its directory.
      title: what it differs in, as it was typed; the comparison calls it so.
      fields: in what it differs from the base.
      arguments: the whole configuration, for a command line.
      config: the same, checked.
    """

    name: str
    title: str
    fields: Fields
    arguments: tuple[str, ...]
    config: Config


@dataclass(frozen=True)
class Plan:
    """The runs, and {name: reason} of the combinations that were refused."""

    runs: Sequence[Planned]
    refused: Mapping[str, str]


def plan(base: Sequence[str], *, over: Sequence[str], listed: Sequence[str], count: int | None, seed: int) -> Plan:
    """What to train.

    Args:
      base: --config=FILE and --config.GROUP.FIELD=VALUE, which all runs share.
      over: 'FIELD=VALUE,VALUE' each; together a grid.
      listed: 'FIELD=VALUE FIELD=VALUE' each; every one a run.
      count: how many runs of the grid to draw; None for all. A greater count adds runs, and replaces none.
      seed: of the drawing.

    Raises:
      ConfigError: an argument is malformed; the base, a listed run, or every combination with one of the values is
        refused; nothing is left.
    """
    base_of(base)
    axes = axes_of(over)
    lines = [_line(text) for text in listed]
    if not axes and not lines:
        raise ConfigError("nothing is varied. Add --over=model.name=unet,fcn8s, or --run='model.name=unet'.")
    if count is not None and (count < 1 or not axes):
        raise ConfigError(f"--random={count}: this is how many runs of the grid of --over to draw, at least 1.")
    total = math.prod(map(len, axes.values()))
    if total > MOST_COMBINATIONS:
        raise ConfigError(f"--over has {total:,d} combinations; at most {MOST_COMBINATIONS:,d}. Give fewer values.")
    label = labels([*axes, *itertools.chain.from_iterable(lines)])
    runs: dict[str, Planned] = {}
    refused: dict[str, str] = {}
    reasons: dict[tuple[str, str], str | None] = {}  # by value: the first refusal; None where one fits
    for fields in _combinations(axes, count=count, seed=seed):
        name = name_of(fields, label)
        try:
            runs[name] = planned(base, fields, label)
            reasons |= dict.fromkeys(fields.items())
        except SegJaxError as error:
            refused[name] = str(error)
            reasons = {**dict.fromkeys(fields.items(), str(error)), **reasons}
        if count is not None and len(runs) == count:
            break
    for (field, value), reason in reasons.items():
        if reason is not None and count is None:
            raise ConfigError(f"--over: {field}={value} fits in no combination: {reason}")
    for fields in lines:
        try:
            runs.setdefault(name_of(fields, label), planned(base, fields, label))
        except SegJaxError as error:
            raise ConfigError(f"--run='{shlex.join(_pairs(fields))}': {error}") from error
    if not runs:
        raise ConfigError(f"every combination is refused, such as {next(iter(refused.items()))}.")
    return Plan(list(runs.values()), refused)


def base_of(base: Sequence[str]) -> Any:
    """The configuration that all runs share, unchecked; a ConfigError where none is named or a flag is unknown."""
    if not any(text.partition("=")[0] in ("--config", "-config") for text in base):
        raise ConfigError("--config is missing. Name a recipe or a configuration file.")
    config, rest = config_flags.read(base)
    if rest:
        raise ConfigError(f"unknown argument {rest[0]!r}. Overrides are spelled --config.GROUP.FIELD=VALUE.")
    return config


def axes_of(over: Sequence[str]) -> dict[str, list[str]]:
    """{field: its values} of the texts 'FIELD=VALUE,VALUE'; raises a ConfigError where one is malformed or repeated."""
    axes = dict(_axis(text) for text in over)
    if len(axes) < len(over):
        raise ConfigError("--over names a field twice. Give all of its values at once: --over=FIELD=VALUE,VALUE.")
    return axes


def planned(base: Sequence[str], fields: Fields, labels: Mapping[str, str]) -> Planned:
    """A run whose configuration and network fit, as far as can be told without data; nothing is computed.

    Args:
      base: what all runs share.
      fields: the values of this one.
      labels: as of `name_of`.

    Raises:
      SegJaxError: they do not; with the value, the rule and the cure.
    """
    arguments = (*base, *(f"--config.{pair}" for pair in _pairs(fields)))
    config = checked(config_flags.read(arguments)[0])
    resolved = pretrained.resolve(config)
    program.check(resolved, devices=1)  # how many there are, the run itself will see
    network = models.build(resolved, classes=2)
    jax.eval_shape(lambda key: models.init(network, key, (1, 64, 64, 3)), jax.random.key(0))  # decoder meets encoder
    return Planned(name_of(fields, labels), title_of(fields, labels), fields, arguments, config)


def name_of(fields: Fields, labels: Mapping[str, str]) -> str:
    """A readable name of a directory: 'unet-vgg16-lr=0.001'.

    What no directory can be called is replaced, and a digest keeps two such names apart.

    Args:
      fields: the values of one run.
      labels: what each field is called; '' where its value says enough.
    """
    exact = title_of(fields, labels)
    name = re.sub(r"[^\w.=+-]+", "_", exact, flags=re.ASCII)[:MOST_CHARACTERS].strip("_")
    if name != exact or name in RESERVED or name.startswith((".", "-")):
        name = f"{name.lstrip('.-')}-{hashlib.sha256(exact.encode()).hexdigest()[:6]}".lstrip("-")
    return name


def title_of(fields: Fields, labels: Mapping[str, str]) -> str:
    """The same with all that was typed: "class_weights=('inverse_log',)-lr=0.001"."""
    return "-".join(f"{labels[field]}={value}" if labels[field] else value for field, value in fields.items())


def labels(fields: Sequence[str]) -> dict[str, str]:
    """{field: '' for a name such as that of an encoder, else its last word, or all of it where two have that word}."""
    last = {field: field.rpartition(".")[2] for field in fields}
    words = list(last.values())
    return {field: "" if word == "name" else word if words.count(word) == 1 else field for field, word in last.items()}


def _combinations(axes: Mapping[str, Sequence[str]], *, count: int | None, seed: int) -> list[Fields]:
    """All of the grid, the last axis fastest; with a count in random order."""
    grid = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    if count is not None:
        random.Random(seed).shuffle(grid)
    return list(grid)


def _axis(text: str) -> tuple[str, list[str]]:
    """'data.size=(32, 48),(64, 96)' -> ('data.size', ['(32, 48)', '(64, 96)'])."""
    field, equals, values = text.partition("=")
    if not field or not equals:
        raise ConfigError(f"--over={text}: it is FIELD=VALUE,VALUE, such as --over=model.name=unet,fcn8s.")
    parts, depth = [""], 0
    for character in values:
        depth += (character in "([") - (character in ")]")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return field, list(dict.fromkeys(part.strip() for part in parts))


def _line(text: str) -> dict[str, str]:
    """ "model.name=unet data.size='(32, 48)'" -> {'model.name': 'unet', 'data.size': '(32, 48)'}."""
    try:
        pairs = [word.partition("=") for word in shlex.split(text)]
    except ValueError as error:
        raise ConfigError(f"--run={text}: {error}. It is FIELD=VALUE FIELD=VALUE.") from error
    if not pairs or not all(field and equals for field, equals, _ in pairs):
        raise ConfigError(
            f"--run={text}: it is FIELD=VALUE FIELD=VALUE, such as --run='model.name=unet optim.lr=0.01'."
        )
    return {field: value for field, _, value in pairs}


def _pairs(fields: Fields) -> list[str]:
    return [f"{field}={value}" for field, value in fields.items()]
