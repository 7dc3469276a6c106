"""Errors of a configuration: the value, the rule and the cure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import TypeVar

from seg_jax.runtime.errors import SegJaxError

T = TypeVar("T")


class ConfigError(SegJaxError, ValueError):
    """A configuration that cannot be run; the message says which field, why, and what to do."""


class UnknownFieldError(ConfigError, AttributeError):
    """There is no field of this name; an AttributeError too, as Python expects of a missing attribute."""


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
