"""What a misspelled flag may have meant. Needs the standard library alone: launch.sh asks before it installs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from seg_jax.config.default import Config
from seg_jax.config.errors import ConfigError, UnknownFieldError
from seg_jax.config.fields import Group, declarations
from seg_jax.config.recipes import find

OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")
CONFIG = re.compile(r"--?config=(.*)", re.DOTALL)
MOST = 3  # proposals in one message


def meant(flag: str) -> str:
    """' Did you mean --config.train.epochs=3?' for '--epochs=3'; '' where no field has a name like it."""
    name, equals, value = flag.lstrip("-").partition("=")
    by_name: dict[str, list[str]] = {}
    for field, *_ in declarations(Config):
        by_name.setdefault(field.rpartition(".")[2], []).append(field)
    last = name.rpartition(".")[2]
    near = [last] if last in by_name else difflib.get_close_matches(last, by_name, 1, cutoff=0.8)
    spelled = [f"--config.{field}{equals}{value}" for one in near for field in by_name[one][:MOST]]
    return f" Did you mean {' or '.join(spelled)}?" if spelled else ""


def checked(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--config=PATH` for what --config names; all fields, recipes and files exist.

    Args:
      arguments: those of the command line, without the program.

    Raises:
      ConfigError: naming the flag, and what it may have meant.
    """
    line: list[str] = []
    for text in arguments:
        if line and line[-1] in ("--config", "-config"):
            line[-1] = f"--config={find(text)}"
            continue
        if match := OVERRIDE.match(text):
            _refuse_field(match[1], text)
        match = CONFIG.match(text)
        line.append(f"--config={find(match[1])}" if match else text)
    return line


def _refuse_field(field: str, text: str) -> None:
    *groups, last = field.split(".")
    value: Any = Config()
    for name in groups:
        value = value[name]
        if not isinstance(value, Group):
            raise ConfigError(f"config.{field}: config.{'.'.join(groups)} is a field, not a group.")
    try:
        value = value[last]
    except UnknownFieldError as error:
        said, _, own = str(error).partition(" Did you mean")
        near = meant(text)
        # A field of exactly this name in another group is nearer than one of a like name in this.
        if own and f".{last}{text.partition('=')[1]}" not in near:
            raise
        raise ConfigError(said + near) from error
    if isinstance(value, Group):
        first = next(iter(value.items()))[0]
        raise ConfigError(f"config.{field} is a group of fields. Set one of them: --config.{field}.{first}=VALUE.")
