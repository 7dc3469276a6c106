"""The command line: --config=RECIPE_OR_FILE and --config.GROUP.FIELD=VALUE, with errors of one line."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from seg_jax.config import typos
from seg_jax.config.check import draft
from seg_jax.config.default import Config
from seg_jax.config.errors import ConfigError
from seg_jax.config.fields import declarations, wrong_type


def define(values: flags.FlagValues, argv: Sequence[str] | None = None, *, recorded: Config | None = None) -> Any:
    """Defines --config and its overrides.

    Args:
      values: the flags that it joins.
      argv: the command line that names overrides; that of the process, if not given.
      recorded: a configuration to start from instead of a file.
    """
    line = None if argv is None else list(argv)
    if recorded is not None:
        return config_flags.DEFINE_config_dataclass("config", draft(recorded), flag_values=values, sys_argv=line)
    text = "A recipe such as camvid_unet, or a file; --config.GROUP.FIELD=VALUE changes a field."
    # Not locked, as fields are overridden afterwards; a misspelled one is refused all the same.
    return config_flags.DEFINE_config_file(
        "config", help_string=text, flag_values=values, sys_argv=line, lock_config=False
    )


def parse(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
    """What `values(argv)` leaves; afterwards `values.config` is what --config names, or None.

    Raises:
      ConfigError: a flag, the file, a field or a value is wrong; in one line.
    """
    line = [*argv[:1], *typos.checked(argv[1:])]
    sys.modules.pop("config_config", None)  # where ml_collections would find the functions of the file before
    path = next((text.partition("=")[2].partition(":")[0] for text in line if text.startswith("--config=")), "")
    try:
        rest = values(line)
        config = values["config"].value
        hasattr(config, "items")  # of a file that cannot be read only its use tells why
    except Exception as error:  # by absl, by ml_collections, or by the file itself
        raise ConfigError(_reason(error, path)) from error
    if path and not hasattr(config, "items"):
        raise ConfigError(
            f"{path}: get_config() returns {config!r}, which is no configuration. End it with `return c`."
        )
    return rest


def read(arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """What --config=FILE and --config.GROUP.FIELD=VALUE describe, unchecked or None; and the other arguments.

    Raises:
      ConfigError: there is no such flag, file or field, or a value is wrong.
    """
    values, line = flags.FlagValues(), ["seg_jax", *arguments]
    holder = define(values, line)
    rest = parse(values, line)[1:]
    return holder.value, rest


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: Exception, path: str) -> str:
    """One line on what went wrong, with the line of the configuration file where there is one."""
    if isinstance(error, flags.UnrecognizedFlagError):
        near = re.search(r"Did you mean: ([^ ,]+)", str(error))  # one of the program's own flags
        cure = f" Did you mean --{near[1]}?" if near else typos.meant(error.flagvalue)
        return f"Unknown command line flag {error.flagname!r}.{cure}"
    first = list(_chain(error))[-1]
    if isinstance(first, SyntaxError):
        return f"{first.filename}:{first.lineno}: {first.msg}."
    if isinstance(first, AttributeError) and first.name == "get_config":
        return f"{path} is no configuration: it has no function get_config()."
    wrong = re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error), re.DOTALL)
    if wrong:
        for field, kind, default, _ in declarations(Config):
            if field == wrong[1]:
                return str(wrong_type(field, wrong[2], kind, default))
    place = [
        f"{path}:{frame.lineno}: "
        for frame in traceback.extract_tb(first.__traceback__)
        if path and Path(frame.filename).resolve() == Path(path).resolve()
    ]
    if isinstance(first, ConfigError):
        return f"{place[-1] if place else ''}{first}"
    text = f"{place[-1]}{type(first).__name__}: {first}" if place else str(error)
    return " ".join(text.split()).rstrip(".") + "."
