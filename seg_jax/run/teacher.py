"""The network that a run is distilled from: the best checkpoint of another run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from jax.sharding import Mesh

from seg_jax import models
from seg_jax.config import Config, require
from seg_jax.data.depth import Depth
from seg_jax.data.labels import LabelTable
from seg_jax.run import initial
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import sharding
from seg_jax.steps import distil


@dataclass(frozen=True)
class Teacher:
    """The network of another run.

    Attributes:
      run: its directory.
      classes: number of classes.
      mesh: the devices.
    """

    run: RunDirectory
    classes: int
    mesh: Mesh

    @cached_property
    def _config(self) -> Config:
        return self.run.config()

    def teach(self, *, given: distil.Normalisation) -> distil.Teach:
        """(weights, image) -> logits, for images that are normalised as `given` says."""
        network = models.build(self._config, classes=self.classes)
        own = tuple(self._config.data.mean), tuple(self._config.data.std)
        return distil.make_teach(model=models.together(self._config, network), own=own, given=given)

    @cached_property
    def abstract(self) -> dict[str, Any]:
        """Shapes, dtypes and sharding of {'params', 'model_state'}."""
        network = models.build(self._config, classes=self.classes)
        shapes = jax.eval_shape(lambda: initial.variables(network, self._config))
        return sharding.abstract(dict(zip(("params", "model_state"), shapes, strict=True)), self.mesh)

    def weights(self) -> dict[str, Any]:
        """{'params', 'model_state'} of the best checkpoint, on the devices.

        Raises:
          CheckpointError: there is none, or a damaged one.
        """
        checkpoints = self.run.checkpoints()
        return sharding.to_devices(checkpoints.weights(checkpoints.choose("best"), self.abstract), self.mesh)


def check(config: Config, table: LabelTable) -> None:
    """Refuses a teacher that is not there, has other classes, or probabilities of another kind.

    Args:
      config: the whole configuration.
      table: the classes of the data.

    Raises:
      ConfigError: naming `loss.teacher`.
    """
    if not config.loss.teacher:
        return
    run = RunDirectory(config.loss.teacher)
    require(
        run.exists and run.table_file.is_file(),
        config,
        "loss.teacher",
        "this is no run directory; the teacher is needed at every step, also to resume a run or to evaluate it",
        "Bring it back, or pass the directory of a run that was started with seg_jax.main",
    )
    names = run.table().names
    require(
        names == table.names,
        config,
        "loss.teacher",
        f"it knows the classes {names}, the data has {table.names}",
        "Use a teacher of the same classes in the same order",
    )
    theirs = Depth.of(run.config().data)
    require(
        theirs == Depth.of(config.data),
        config,
        "loss.teacher",
        f"it sees photographs of another form, data.bands={theirs.bands} and data.range={theirs.range}",
        "Use the same bands and range for both",
    )
    head = run.config().loss.head
    require(
        (head == "sigmoid") == (config.loss.head == "sigmoid"),
        config,
        "loss.teacher",
        f"its loss.head is {head!r}, that of this run {config.loss.head!r}: their probabilities cannot be compared",
        f"Use --config.loss.head={head}",
    )
