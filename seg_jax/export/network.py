"""A trained network in the form that every format takes: one function of an image, weights, metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from seg_jax import losses, models
from seg_jax.config import ConfigError, flatten, with_fields
from seg_jax.data.depth import Depth
from seg_jax.data.labels import LabelTable
from seg_jax.export.resample import resize_antialiased
from seg_jax.predict.contents import OUTPUTS, VERSION
from seg_jax.run import program
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import sharding
from seg_jax.runtime.version import __version__

# Fields that may be paths, which mean nothing on another machine: exports leave them out.
PLACES = ("data.dir", "data.tfds.data_dir", "model.weights", "model.encoder.weights", "loss.teacher")
PLATFORMS = ("cpu", "cuda", "tpu")  # platforms that `Network.portable` is compiled for


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
      functions: the run's compiled functions.
      weights: {'params', 'model_state'}, host arrays.
      table: the label table of its classes.
      metadata: JSON values stored in every artefact, see docs/export.md.
    """

    functions: program.Functions
    weights: dict[str, Any]
    table: LabelTable
    metadata: dict[str, Any]

    @classmethod
    def load(
        cls,
        run: Path,
        *,
        checkpoint: str = "best",
        size: tuple[int, int] | None = None,
        output: str = "probabilities",
        fixed: bool = False,
        full_precision: bool = True,
    ) -> Network:
        """The network of a run directory.

        Args:
          run: the run directory.
          checkpoint: 'best', 'last' or a step.
          size: (height, width) that the network resizes every image to; None: no resizing.
          output: one of `OUTPUTS`.
          fixed: whether `size` defaults to the size of the training images.
          full_precision: whether to compute in float32 even if the run used bfloat16, which is slow on CPUs.

        Raises:
          ConfigError, CheckpointError, LabelError: it is not a run directory, or it is damaged.
        """
        assert output in OUTPUTS, output
        directory = RunDirectory(run)
        config, checkpoints = directory.config(), directory.checkpoints()
        step = checkpoints.choose(checkpoint)
        table, trained = directory.trained(config, checkpoints.meta(step))
        if full_precision:
            config = with_fields(config, {"model.dtype": "float32"})
        functions = program.Functions(config, classes=len(table), mesh=sharding.make_mesh(1))
        like = functions.abstract_state.weights(averaged=False)
        weights = checkpoints.weights(step, like, averaged=config.eval.averaged)
        short_side = config.data.short_side
        if fixed and not size and (short_side or not trained):
            scale = f"with a shorter side of {short_side} pixels" if short_side else "at their own scale"
            raise ConfigError(
                f"{run} was trained on photographs {scale}, and this format has one size. Add --size=HxW, that of your "
                "photographs at this scale."
            )
        if fixed:
            size = size or trained
        return cls.of(functions, weights, table, step=step, trained_size=trained, size=size, output=output)

    @classmethod
    def of(
        cls,
        functions: program.Functions,
        weights: dict[str, Any],
        table: LabelTable,
        *,
        step: int,
        trained_size: tuple[int, ...] | None,
        size: tuple[int, ...] | None = None,
        output: str = "probabilities",
    ) -> Network:
        """A network in memory; arguments as for `load`; `step` and `trained_size` go into `metadata`."""
        config, now = functions.config, flatten(functions.config)
        config = with_fields(config, {field: "" for field in PLACES if set("/\\~") & set(now[field])})
        metadata = {"format": VERSION, "seg_jax": __version__, "sealed": True}
        metadata |= {"classes": list(table.names), "colors": [list(color) for color in table.colors]}
        metadata |= {
            "mean": list(config.data.mean),
            "std": list(config.data.std),
            "bands": list(config.data.bands),
            "range": list(config.data.range),
            "trained_size": list(trained_size) if trained_size else None,
        }
        metadata |= {"head": config.loss.head, "size": list(size) if size else None, "output": output}
        metadata |= {"parameters": models.count(weights["params"]), "step": step, "config": config.to_dict()}
        return cls(functions, weights, table, metadata)

    @property
    def depth(self) -> Depth:
        """The bands of its images, and the range of their stored values."""
        return Depth.of(self.functions.config.data)

    @property
    def documents(self) -> dict[str, str]:
        """{name: text} of the documents in every artefact, as `predict.artefacts` reads them."""
        return {"metadata.json": json.dumps(self.metadata, indent=1), "class_names.json": self.table.to_json()}

    def function(self, target: str) -> Callable[[Any, jax.Array], jax.Array]:
        """(weights, image [b h w c] in 0..255) -> probabilities, float32 [b h w k], or label, uint8 [b h w].

        Labels of more than 255 classes are int32, which all formats have.

        Args:
          target: the target that it will be traced for, one of models.TARGETS.
        """
        config, head, output = self.functions.config, self.metadata["head"], self.metadata["output"]
        size = tuple(self.metadata["size"] or ())
        mean, std = tuple(config.data.mean), tuple(config.data.std)
        label = jnp.uint8 if self.table.dtype == np.uint8 else jnp.int32

        def run(weights: Any, image: jax.Array) -> jax.Array:
            with models.traced_for(target):
                resized = size and size != image.shape[1:3]
                seen = resize_antialiased(image, size=size) if resized else image
                outputs, _ = models.forward(
                    self.functions.model, **weights, image=models.normalize(seen, mean, std), train=False
                )
                scores = outputs["logits"]
                if resized or output == "probabilities":  # for labels alone the logits do: the argmax is the same
                    scores = probabilities(scores, head=head)
                if resized:
                    scores = resize_antialiased(scores, size=image.shape[1:3])
                return scores if output == "probabilities" else scores.argmax(-1).astype(label)

        return run

    def portable(self, image: jax.Array) -> jax.Array:
        """`function` with its weights, in the fastest form for each of `PLATFORMS`, chosen at compilation."""
        forms = {"cpu": self.function("cpu"), "default": self.function("accelerator")}
        # The weights are an argument of both forms, so the file contains them once.
        return jax.lax.platform_dependent(self.weights, image, **forms)

    def exported(self) -> jax.export.Exported:
        """`portable` as StableHLO, for all of `PLATFORMS`."""
        return jax.export.export(jax.jit(self.portable), platforms=PLATFORMS)(self.image)

    @property
    def image(self) -> jax.ShapeDtypeStruct:
        """The argument of `function`, [b h w c] with symbolic sizes."""
        n = models.reduction(self.functions.model)
        # jax.export cannot derive that h and w, rounded up to a multiple of n, do not shrink.
        rules = [f"{n}*floordiv({side}+{n - 1},{n})>={side}" for side in "hw"]
        return jax.ShapeDtypeStruct(
            (*jax.export.symbolic_shape("b,h,w", constraints=rules), self.depth.channels), self.depth.dtype
        )


@models.operator
def probabilities(logits: jax.Array, *, head: str) -> jax.Array:
    """See `losses.probabilities`."""
    return losses.probabilities(logits, head=head)
