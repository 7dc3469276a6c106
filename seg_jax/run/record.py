"""What a training records in its run directory, and refuses to change when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seg_jax.config import FREE, Config, ConfigError, checked, differences
from seg_jax.data.examples import Examples
from seg_jax.data.labels import LabelTable
from seg_jax.run.directory import RunDirectory, rows

# Fields of the length, which may grow; `run.length` says when.
LENGTH = ("train.steps", "train.epochs", "train.extend", "train.extended_at")


def resumable(run: RunDirectory) -> Config | None:
    """The configuration of the run that can be resumed here; None for a new one."""
    if not run.has_checkpoints:
        return None
    return run.config() if run.exists else _trained(run)


def _newest_meta(run: RunDirectory) -> Mapping[str, Any]:
    return run.checkpoints().newest_meta() if run.has_checkpoints else {}


def _trained(run: RunDirectory) -> Config | None:
    """The configuration that the newest whole checkpoint was trained with; None without one."""
    recorded = _newest_meta(run).get("config")
    try:
        return checked(recorded) if recorded else None
    except ConfigError as error:
        raise ConfigError(f"the newest checkpoint in {run.checkpoints_folder}: {error}") from error


def begin(run: RunDirectory, config: Config) -> None:
    """Records the configuration of a new run, or refuses one with which the run here cannot be resumed.

    It is compared with `config.json` and with the newest checkpoint, so that neither editing nor deleting the file
    changes the course of a run.

    What is recorded already is written once more, unchanged: before any data is read it shows whether the disk
    takes it.

    Raises:
      ConfigError: naming every field that differs, or what the disk says.
    """
    recorded = resumable(run)
    for known in (recorded, _trained(run)):
        if known is not None and (changed := differences(config, known, free=(*FREE, *LENGTH))):
            raise ConfigError(
                f"{run} holds a run with another configuration:\n{rows(changed)}\n"
                "Use another --workdir, or the configuration of that run."
            )
    run.write_config(recorded or config)


def write_table(run: RunDirectory, table: LabelTable) -> None:
    """Records the class table, or refuses to resume with another one.

    Raises:
      ConfigError: the data's table is not the one that the run was started with.
    """
    text = table.to_json()
    recorded = {run.table_file.read_bytes()} if run.has_checkpoints and run.table_file.is_file() else set()
    if "classes" in (meta := _newest_meta(run)):  # the file may be lost
        recorded.add(meta["classes"].encode(errors="backslashreplace"))
    if recorded - {text.encode()}:
        raise ConfigError(
            f"the label table of the data has changed since this run was started: {run.table_file} differs. "
            "Use another --workdir, or restore the table."
        )
    run.write(run.table_file, text)


def require_same_examples(meta: Mapping[str, Any], *splits: Examples) -> None:
    """Refuses to resume with other examples: the order of training, and scores, would silently be others.

    Args:
      meta: of the checkpoint.
      splits: the examples as they are now.

    Raises:
      ConfigError: naming the split.
    """
    for examples in splits:
        if meta["examples"][examples.split] != examples.digest:
            raise ConfigError(
                f"the examples of the split {examples.split!r} (now {len(examples)}) are not those that this run was "
                "started with: some were added, removed, renamed or changed. Use another --workdir, or restore them."
            )
