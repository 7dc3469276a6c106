"""The evaluation of a stored checkpoint, in detail: its report and pictures."""

from __future__ import annotations

import logging
from pathlib import Path

import jax

from seg_jax import data, process, report, sharding
from seg_jax.config import Config, ConfigError, check_classes, differences, load
from seg_jax.data import feed
from seg_jax.data.labels import LabelTable
from seg_jax.evaluate.evaluator import Evaluator, refined
from seg_jax.metrics import Report, summary
from seg_jax.run import pretrained, program
from seg_jax.run.checkpoint import Checkpoints


def evaluate_checkpoint(config: Config, workdir: Path, which: str) -> Report:
    """Evaluates a stored checkpoint on `config.data.val_split` and writes its report and pictures.

    Args:
      config: of the run; its data and evaluation fields may differ from the training's.
      workdir: a run directory.
      which: 'best', 'last' or a step.

    Returns:
      The report, which is also in `workdir/eval/SPLIT-STEP`, or SPLIT-STEP-original-flip-scales-window as asked.

    Raises:
      ConfigError: the network is another one than the run's, or the data has other classes.
      CheckpointError: there is no such checkpoint, or it is damaged.
    """
    recorded = load(workdir / "config.json")
    config = pretrained.resolve(config, recorded)
    mesh = program.configured_mesh(config)
    program.check(config, devices=sharding.batch_parts(mesh))
    weights_fields = ("model.weights", "model.encoder.weights")
    changed = {
        key: values
        for key, values in differences(config, recorded, free=weights_fields).items()
        if key.startswith(("model.", "data.mean", "data.std", "loss.head"))
    }
    if changed:
        rows = "\n".join(f"  config.{key}: now {now!r}, trained with {then!r}" for key, (now, then) in changed.items())
        raise ConfigError(f"{workdir} was trained with another network:\n{rows}\nUse the run's own values.")
    table = LabelTable.load(workdir / "class_names.json")
    split = config.data.val_split
    examples = data.load(config, split)
    if examples.table.names != table.names:
        raise ConfigError(
            f"the data has the classes {examples.table.names}, the run in {workdir} {table.names}; they must agree."
        )
    check_classes(config, classes=len(table))
    if any(config.eval.window) and jax.process_count() > 1:
        raise ConfigError("config.eval.window: windows slide in one process only. Evaluate in one, or use (0, 0).")
    pretrained.check_teacher(config, table)
    examples = feed.prepare(examples, config.data, mesh, workdir=workdir)
    functions = program.Program(config, classes=len(table), mesh=mesh)
    checkpoints = Checkpoints(workdir / "checkpoints", create=False)
    step = checkpoints.choose(which)
    like = functions.abstract_state.weights(averaged=False)
    stored = checkpoints.weights(step, like, averaged=config.eval.averaged)
    weights = sharding.to_devices(stored, mesh)
    evaluator = Evaluator(functions, examples)
    result = evaluator(**weights, step=step, detailed=True)
    # Another way of applying the network is another result.
    original = ("original",) if config.eval.resolution == "original" else ()
    kinds = (split, str(step), *original, *(kind for kind in refined(config.eval) if kind != "overlap"))
    place = workdir / "eval" / "-".join(kinds)
    panels = evaluator.panels(**weights, detailed=True)
    assert result.images is not None
    worst = result.images.worst()[: config.eval.panels]
    drawn = panels | evaluator.panels(**weights, chosen=[i for i in worst if i not in panels], detailed=True)
    if not process.is_first():
        return result
    report.write(place, result, panels, examples.table, worst={i: drawn[i] for i in worst})
    print(f"checkpoint of step {step} on {len(examples)} examples of {split!r}\n{result.table()}")
    print("\n".join(summary.describe(result)))
    logging.info("report and pictures: %s", place)
    return result
