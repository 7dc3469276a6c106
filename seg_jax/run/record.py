"""What a training records in its run directory, and refuses to change when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seg_jax.config import FREE, Config, ConfigError, checked, differences
from seg_jax.data.examples import Examples
from seg_jax.data.labels import LabelTable
from seg_jax.run.directory import RunDirectory, rows
from seg_jax.run.lock import refuse_together

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
    takes it. Beside a class table without a configuration it is not written yet: `write_table` compares that first.

    Raises:
      ConfigError: naming every field that differs, what the disk says, or files of no run that would be replaced.
    """
    recorded = resumable(run)
    for known in (recorded, _trained(run)):
        if known is not None and (changed := differences(config, known, free=(*FREE, *LENGTH))):
            raise ConfigError(
                f"{run} holds a run with another configuration:\n{rows(changed)}\n"
                "Use another --workdir, or the configuration of that run."
            )
    refuse_together(_foreign(run))
    if run.exists or not run.table_file.exists():
        run.write_config(recorded or config)


def _foreign(run: RunDirectory) -> ConfigError | None:
    """The refusal of a directory that holds no run, but files that a new one would replace."""
    if run.has_checkpoints:
        return None
    if not run.exists:
        results = run.results()
        return _refusal(run, results[0], "belongs to no run") if results else None
    try:
        run.config()
    except ConfigError:
        return _refusal(run, run.config_file, "is no configuration that this version of seg_jax has recorded")
    return None


def _refusal(run: RunDirectory, file: Path, what: str) -> ConfigError:
    return ConfigError(f"training in {run} would replace {file}, which {what}. Use another --workdir.")


def write_table(run: RunDirectory, table: LabelTable) -> None:
    """Records the class table, or refuses to resume with another one, or to replace one of no run.

    Raises:
      ConfigError: the data's table is not the one that the run was started with, or that is here without a run.
    """
    text = table.to_json()
    there = {run.table_file.read_bytes()} if run.table_file.is_file() else set()
    foreign = there - {text.encode()} and not run.exists and not run.has_checkpoints
    what = "belongs to no run and differs from the class table of the data"
    refuse_together(_refusal(run, run.table_file, what) if foreign else None)
    recorded = there if run.has_checkpoints else set()
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
