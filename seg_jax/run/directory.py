"""The run directory: what its files are called, how they are read, and what keeps another run out of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_jax.config import FREE, Config, ConfigError, check_names, checked, differences, load, to_json
from seg_jax.data.labels import LabelError, LabelTable
from seg_jax.run.lock import training, unwritable
from seg_jax.runtime import process
from seg_jax.runtime.files import write_bytes

# What follows needs JAX, which those who only ask for a name do without.
if TYPE_CHECKING:
    from seg_jax.data.examples import Examples
    from seg_jax.run.checkpoint import Checkpoints
    from seg_jax.run.saving import CheckpointWriter
    from seg_jax.run.stored import Meta

# Fields of the length, which may grow; `run.length` says when.
LENGTH = ("train.steps", "train.epochs", "train.extend", "train.extended_at")


class ReportFiles:
    """The files of one evaluation, in a run directory or in a folder of its own.

    Args:
      path: the folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self.report = path / "report.json"
        self.images = path / "images.npz"  # counts of single images
        self.confusion = path / "confusion.png"
        self.predictions = path / "predictions.png"  # the panels on one sheet
        self.worst = path / "worst.png"

    def panel(self, index: int) -> Path:
        """The picture of one example."""
        return self.path / "panels" / f"{index}.png"

    def panels(self) -> dict[int, Path]:
        """{index: picture} of those that there are, in rising order."""
        paths = [path for path in self.panel(0).parent.glob("*.png") if path.stem.isdecimal()]
        return {int(path.stem): path for path in sorted(paths, key=lambda path: int(path.stem))}


class RunDirectory:
    """A run directory: the only place that spells the names of its files.

    Args:
      path: where it is, or is to be; '~' is the home directory.
    """

    def __init__(self, path: str | Path):
        self.path = path = Path(path).expanduser()
        self.config_file = path / "config.json"  # the configuration, with nothing left open
        self.table_file = path / "class_names.json"  # names and colours of the classes
        self.checkpoints_folder = path / "checkpoints"
        self.report = ReportFiles(path)  # of the best checkpoint, written by training
        self.metrics_file = path / "metrics.jsonl"
        self.curves_file = path / "curves.png"
        self.facts_file = path / "run.json"  # what the run cost
        self.sample_file = path / "sample.png"  # the first validation image
        self.profile_folder = path / "profile"
        self.rates_file = path / "lr_range.json"
        self.rates_picture = path / "lr_range.png"
        self.lock_file = path / "lock"

    def __str__(self) -> str:
        return str(self.path)

    def checked(self, split: str) -> Path:
        """The note of which files of a split were checked."""
        return self.path / "checked" / f"{split}.json"

    def evaluation(self, *kinds: str) -> ReportFiles:
        """The report of one detailed evaluation, such as ('val', '60', 'flip')."""
        return ReportFiles(self.path / "eval" / "-".join(kinds))

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.config_file.is_file()

    def config(self) -> Config:
        """The recorded configuration; raises a ConfigError where there is none, or a damaged one."""
        return load(self.config_file)

    def table(self) -> LabelTable:
        """The classes; raises a LabelError where their file is missing or damaged."""
        return LabelTable.load(self.table_file)

    def trained(self, config: Config, checkpoint: Meta) -> tuple[LabelTable, tuple[int, int]]:
        """The classes, and the (height, width) at which the network was evaluated.

        Args:
          config: as recorded.
          checkpoint: its meta data.

        Raises:
          ConfigError: the configuration leaves the network open, or describes none that there is.
          LabelError: the table has more or fewer classes than the network.
          CheckpointError: the meta data is incomplete.
        """
        from seg_jax.run.checkpoint import CheckpointError

        if "image_size" not in checkpoint:
            raise CheckpointError(f"a checkpoint of {self} does not say image_size. Restore it from a copy.")
        try:
            check_names(config, group="model.")
        except ConfigError as error:
            raise ConfigError(f"{self.config_file}: {error}") from error
        if not config.data.mean or not config.data.std:
            raise ConfigError(f"{self.config_file}: config.data.mean or std is empty. Restore it from a copy.")
        table = self.table()
        if "classes" in checkpoint and len(trained := LabelTable.from_json(checkpoint["classes"])) != len(table):
            raise LabelError(
                f"{self.table_file} has {len(table)} classes, the network {len(trained)}: {', '.join(trained.names)}. "
                "Restore the table."
            )
        height, width = checkpoint["image_size"]
        return table, (height, width)

    def checkpoints(self) -> Checkpoints:
        """The checkpoints, to be read; raises a CheckpointError before the first one."""
        from seg_jax.run.checkpoint import Checkpoints

        return Checkpoints(self.checkpoints_folder)

    def checkpoint_writer(self, *, keep_last: int) -> CheckpointWriter:
        """The checkpoints of the training that holds this directory, see `training`."""
        from seg_jax.run.saving import CheckpointWriter

        return CheckpointWriter(self.checkpoints_folder, keep_last=keep_last)

    @property
    def has_checkpoints(self) -> bool:
        """Whether there is a run to resume; one that ended before its first checkpoint left nothing to lose."""
        try:
            names = os.listdir(self.checkpoints_folder)  # glob passes over a folder that cannot be read
        except FileNotFoundError:
            return False
        return any(name.isdigit() or ".damaged" in name for name in names)

    def resumable(self) -> Config | None:
        """The configuration of the run that can be resumed here; None for a new one."""
        if not self.has_checkpoints:
            return None
        return self.config() if self.exists else self._trained()

    def _newest_meta(self) -> Mapping[str, Any]:
        return self.checkpoints().newest_meta() if self.has_checkpoints else {}

    def _trained(self) -> Config | None:
        """The configuration that the newest whole checkpoint was trained with; None without one."""
        recorded = self._newest_meta().get("config")
        try:
            return checked(recorded) if recorded else None
        except ConfigError as error:
            raise ConfigError(f"the newest checkpoint in {self.checkpoints_folder}: {error}") from error

    def training(self) -> AbstractContextManager[None]:
        """Makes the directory and keeps other trainings out; the processes of one run share it. Readers are free.

        Raises:
          LockedError: another process trains here.
          ConfigError: it cannot be written.
        """
        return training(self.path, self.lock_file)

    def begin(self, config: Config) -> None:
        """Records the configuration of a new run, or refuses one with which the run here cannot be resumed.

        It is compared with `config.json` and with the newest checkpoint, so that neither editing nor deleting the file
        changes the course of a run.

        What is recorded already is written once more, unchanged: before any data is read it shows whether the disk
        takes it.

        Raises:
          ConfigError: naming every field that differs, or what the disk says.
        """
        recorded = self.resumable()
        for known in (recorded, self._trained()):
            if known is not None and (changed := differences(config, known, free=(*FREE, *LENGTH))):
                raise ConfigError(
                    f"{self.path} holds a run with another configuration:\n{rows(changed)}\n"
                    "Use another --workdir, or the configuration of that run."
                )
        self.write_config(recorded or config)

    def write_config(self, config: Config) -> None:
        """Records the configuration of the run."""
        self._write(self.config_file, to_json(config))

    def write_table(self, table: LabelTable) -> None:
        """Records the class table, or refuses to resume with another one.

        Raises:
          ConfigError: the data's table is not the one that the run was started with.
        """
        text = table.to_json()
        recorded = {self.table_file.read_bytes()} if self.has_checkpoints and self.table_file.is_file() else set()
        if "classes" in (meta := self._newest_meta()):  # the file may be lost
            recorded.add(str(meta["classes"]).encode(errors="backslashreplace"))
        if recorded - {text.encode()}:
            raise ConfigError(
                f"the label table of the data has changed since this run was started: {self.table_file} differs. "
                "Use another --workdir, or restore the table."
            )
        self._write(self.table_file, text)

    def _write(self, path: Path, text: str) -> None:
        if process.is_first():
            try:
                write_bytes(path, text.encode())
            except OSError as error:
                raise unwritable(self.path, error) from error


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


def rows(changed: Mapping[str, tuple[Any, Any]], *, then: str = "there") -> str:
    """Lines on fields that differ, see `config.differences`."""
    return "\n".join(f"  config.{key}: now {now!r}, {then} {other!r}" for key, (now, other) in changed.items())
