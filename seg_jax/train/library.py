"""`seg_jax.train`: the training of the command line, with data, losses and callbacks of a Python program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seg_jax import data
from seg_jax.config import Config, ConfigError, draft
from seg_jax.data.labels import LabelTable
from seg_jax.data.labels.builtin import table_of
from seg_jax.data.sources import python
from seg_jax.losses import LOSSES, OwnLoss
from seg_jax.metrics import Report
from seg_jax.runtime import process
from seg_jax.steps.state import TrainState
from seg_jax.train.hooks import Hooks, nothing
from seg_jax.train.loop import train_and_evaluate


def train(
    config: Config | Mapping[str, Any],
    workdir: str | Path,
    *,
    train: Any = None,
    val: Any = None,
    classes: int | Sequence[str] | LabelTable | None = None,
    losses: Mapping[str, tuple[float, OwnLoss]] | None = None,
    on_step: Callable[[int, dict[str, float]], Any] = nothing,
    on_evaluate: Callable[[int, Report], Any] = nothing,
) -> TrainState:
    """Trains to the end, or resumes the run in `workdir`; the same call after an interruption continues it.

    Args:
      config: a configuration, or the fields in which it differs from the defaults: {"train.epochs": 5, ...}.
      workdir: the run directory.
      train, val: the examples to learn from and to evaluate on: (images, labels), arrays uint8 [n h w 3] and integer
        [n h w]; or an object with a length and items (image, label), see `data.sources.python.examples`. None, for
        both: `config.data` says where they are.
      classes: with `train`: their number, their names or a LabelTable. Labels are 0, 1, 2... in that order, 255 is
        ignored.
      losses: {name: (weight, function)}, added to the losses of `config.loss.weights`. A function takes logits, float
        [b h w k], and label, uint8 [b h w] with 255 where ignored, and gives its mean over the pixels that count,
        float32 []; or (values, weights) of one shape. A run that had them is resumed with the same names and weights.
      on_step: called with (step, metrics) for every finished step.
      on_evaluate: called with (step, report) after every evaluation. What a callback raises ends the training.

    Returns:
      The last state. `workdir` has everything else: `seg_jax.Predictor.load(workdir)` uses the best checkpoint.

    Raises:
      ConfigError, DataError, LabelError: before the first step, with the cure.
      DivergedError: loss or gradient became infinite or NaN.
    """
    made = _configuration(config)
    if (train is None) != (val is None) or (train is None) != (classes is None):
        missing = [name for name, given in (("train", train), ("val", val), ("classes", classes)) if given is None]
        raise ConfigError(
            f"seg_jax.train has no {' and no '.join(missing)}. Data from Python are train=, val= and classes= "
            "together; without all three the configuration says where the data are."
        )
    source = None
    if classes is not None:
        made.data.source, made.data.dir = "python", ""
        splits = {made.data.train_split: train, made.data.val_split: val}
        source = data.Source(python.source(splits, table_of(classes)), directory=False, deep=True)
    own = losses or {}
    if taken := sorted(own.keys() & LOSSES.keys()):
        raise ConfigError(
            f"losses={{{taken[0]!r}: ...}}: a loss of this package has that name. Choose another name, or set "
            f"loss.weights.{taken[0]} in the configuration."
        )
    made.loss.own = tuple((name, float(weight)) for name, (weight, _) in own.items())
    functions = {name: function for name, (_, function) in own.items()}
    process.use_compilation_cache()
    hooks = Hooks(source=source, losses=functions, on_step=on_step, on_evaluate=on_evaluate)
    return train_and_evaluate(made, Path(workdir).expanduser(), hooks)


def _configuration(config: Config | Mapping[str, Any]) -> Config:
    """A copy that may be changed; full names of fields, such as 'optim.lr', are understood beside nested groups."""
    if isinstance(config, Config):
        return draft(config)
    made = draft({name: value for name, value in config.items() if "." not in name})
    made.update_from_flattened_dict({name: value for name, value in config.items() if "." in name})
    return made
