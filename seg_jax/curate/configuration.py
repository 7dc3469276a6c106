"""The configuration of a command line, and the splits that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seg_jax import data
from seg_jax.config import Config, ConfigError, check_names, checked
from seg_jax.config import flags as config_flags
from seg_jax.data.examples import Examples


def configuration(arguments: Sequence[str]) -> Config:
    """The configuration of --config=FILE and --config.GROUP.FIELD=VALUE, as for `seg_jax.main`.

    Raises:
      ConfigError: there is no such file or field, or the value is invalid.
    """
    try:
        config, rest = config_flags.read(arguments)
    except ConfigError as error:
        raise ConfigError(f"{error} See python -m seg_jax.data --help.") from error
    if rest and Path(rest[0]).is_dir():
        raise ConfigError(
            f"{rest[0]!r} is a directory, which only `inspect` and `prepare` take: they write a configuration, for "
            "--config=FILE."
        )
    if rest:
        raise ConfigError(f"unknown argument {rest[0]!r}. Overrides are spelled --config.GROUP.FIELD=VALUE.")
    if config is None:
        raise ConfigError(
            "--config is missing: name a recipe or a configuration file. For a directory, `python -m seg_jax.data "
            "inspect DIR` writes one."
        )
    config = checked(config)
    check_names(config, group="data.")
    data.check(config.data)
    return config


def splits_of(config: Config, names: str | None = None, *, source: data.Source | None = None) -> list[Examples]:
    """The named splits ('a,b'), or the training and validation split of the configuration; see `data.load`."""
    splits = names.split(",") if names else (config.data.train_split, config.data.val_split)
    return [data.load(config, split.strip(), source=source) for split in dict.fromkeys(splits)]
