"""The run directory: what its files are called, how they are read, and what keeps another run out of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from seg_jax.config import Config, ConfigError, check_names, load, to_json
from seg_jax.data.labels import LabelError, LabelTable
from seg_jax.run.lock import training, unwritable
from seg_jax.runtime import process
from seg_jax.runtime.files import write_bytes

# What follows needs JAX, which those who only ask for a name do without.
if TYPE_CHECKING:
    from seg_jax.run.checkpoint import Checkpoints
    from seg_jax.run.saving import CheckpointWriter
    from seg_jax.run.stored import Meta


def numbered(folder: Path, suffix: str) -> dict[int, Path]:
    """{number: file} of the files that are named by one, in rising order."""
    paths = [path for path in folder.glob(f"*{suffix}") if path.stem.isdecimal()]
    return {int(path.stem): path for path in sorted(paths, key=lambda path: int(path.stem))}


def below(folder: Path, name: str) -> Path:
    """The place of a name in a folder; where the name is a path itself, which may lead upwards, it stays inside."""
    return folder.joinpath(*(part if part.strip("/.") else "_" for part in PurePath(name).parts))


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
        return numbered(self.panel(0).parent, ".png")


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
        self.class_curves_file = path / "curves_classes.png"
        self.pictures_folder = path / "pictures"  # of validation photographs, one file for each evaluation
        self.animation_file = self.pictures_folder / "training.webp"
        self.weights_file = path / "weights.json"  # commit and SHA-256 of weights from a model hub
        self.facts_file = path / "run.json"  # what the run cost
        self.sample_file = path / "sample.png"  # the first validation image
        self.profile_folder = path / "profile"
        self.onnx_folder = path / "onnx"  # the network of one checkpoint for ONNX Runtime, see `predict.runtimes`
        self.rates_file, self.rates_picture = path / "lr_range.json", path / "lr_range.png"
        self.lock_file = path / "lock"

    def __str__(self) -> str:
        return str(self.path)

    def checked(self, split: str) -> Path:
        """The note of which files of a split were checked."""
        return below(self.path / "checked", f"{split}.json")

    def picture(self, step: int) -> Path:
        """Validation photographs with the prediction of `step`."""
        return self.pictures_folder / f"{step}.jpg"

    def pictures(self) -> dict[int, Path]:
        """{step: picture} of those that there are, in rising order."""
        return numbered(self.pictures_folder, ".jpg")

    def evaluation(self, *kinds: str) -> ReportFiles:
        """The report of one detailed evaluation, such as ('val', '60', 'flip')."""
        return ReportFiles(below(self.path / "eval", "-".join(kinds)))

    @classmethod
    def around(cls, folder: Path) -> RunDirectory | None:
        """The run that a folder belongs to: itself, or the nearest one above; None without any."""
        return next((run for run in map(cls, (folder, *folder.parents)) if run.exists), None)

    def results(self) -> list[Path]:
        """What there is of the files that training writes, or removes, once it has begun."""
        report, curves = self.report, self.curves_file
        named = [self.metrics_file, self.weights_file, self.facts_file, self.sample_file, self.animation_file]
        named += [report.report, report.images, report.predictions, self.class_curves_file]
        named += [path for plot in (report.confusion, curves) for path in (plot, plot.with_suffix(".pdf"))]
        return [path for path in (*named, *report.panels().values(), *self.pictures().values()) if path.exists()]

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

    def trained(self, config: Config, checkpoint: Meta) -> tuple[LabelTable, tuple[int, int] | None]:
        """The classes, and the (height, width) at which the network was evaluated; None: at the photographs' own scale.

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
        size = checkpoint["image_size"]
        return table, (size[0], size[1]) if size else None

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

    def training(self) -> AbstractContextManager[None]:
        """Makes the directory and keeps other trainings out; the processes of one run share it. Readers are free.

        Raises:
          LockedError: another process trains here.
          ConfigError: it cannot be written.
        """
        return training(self.path, self.lock_file)

    def write_config(self, config: Config) -> None:
        """Records the configuration of the run."""
        self.write(self.config_file, to_json(config))

    def write(self, path: Path, text: str) -> None:
        """Writes a file here, in the first process alone; raises a ConfigError where the disk refuses."""
        if process.is_first():
            try:
                write_bytes(path, text.encode())
            except OSError as error:
                raise unwritable(self.path, error) from error


def rows(changed: Mapping[str, tuple[Any, Any]], *, then: str = "there") -> str:
    """Lines on fields that differ, see `config.differences`."""
    return "\n".join(f"  config.{key}: now {now!r}, {then} {other!r}" for key, (now, other) in changed.items())
