"""Configurations as text: flat names, JSON, differences."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from seg_jax.config.check import checked
from seg_jax.config.default import Config
from seg_jax.config.errors import ConfigError, UnknownFieldError
from seg_jax.config.fields import declarations

# Fields that a resumed run may change: they move files and pictures, not parameters.
FREE = tuple(field for field, _, _, spec in declarations(Config) if spec.free)


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Nested groups or mappings -> {'model.name': 'unet', ...}, in sorted order."""
    flat: dict[str, Any] = {}
    for key, value in sorted(config.items()):
        if hasattr(value, "items"):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = tuple(value) if isinstance(value, list) else value
    return flat


def defaults() -> dict[str, Any]:
    """{'model.name': 'unet', ...}: every field with its default, which counts as left open."""
    return flatten(Config())


def to_json(config: Config) -> str:
    """The configuration as indented JSON text; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> Config:
    """The inverse of `to_json`, checked; fields that came later have their defaults.

    Raises:
      ConfigError: a field does not fit.
      ValueError: it is not a mapping in JSON.
    """
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError(f"it is a {type(fields).__name__}, not a mapping")
    return checked(fields)


def load(path: Path) -> Config:
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
        return from_json(path.read_text(encoding="utf-8"))
    except UnknownFieldError as error:
        raise ConfigError(f"{path}: {error} A later version of seg_jax may have written it; use that one.") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValueError as error:  # cut off, not text, or JSON that is no mapping
        raise ConfigError(f"{path} is not a configuration in JSON ({error}); restore it from a copy.") from error


def differences(ours: Any, theirs: Any, *, free: Collection[str] = ()) -> dict[str, tuple[Any, Any]]:
    """Fields in which two configurations differ: {'optim.lr': (ours, theirs)}.

    Args:
      ours, theirs: configurations, or nested mappings.
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
