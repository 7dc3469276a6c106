"""The evaluation of a stored checkpoint, in detail: its report and pictures."""

from __future__ import annotations

import logging
from pathlib import Path

import jax

from seg_jax import report
from seg_jax.config import Config, ConfigError, differences
from seg_jax.evaluate.evaluator import Evaluator, refined
from seg_jax.metrics import Report, summary
from seg_jax.run.directory import ReportFiles, RunDirectory, rows
from seg_jax.run.opening import open_job
from seg_jax.runtime import process, sharding


def evaluate_checkpoint(config: Config, workdir: Path, which: str) -> Report:
    """Evaluates a stored checkpoint on `config.data.val_split` and writes its report and pictures.

    Args:
      config: the run's configuration; its data and evaluation fields may differ from the training's.
      workdir: a run directory.
      which: 'best', 'last' or a step.

    Returns:
      The report, which is also in `workdir/eval/SPLIT-STEP`, or SPLIT-STEP-original-flip-scales-window as asked.

    Raises:
      ConfigError: the network is another one than the run's, or the data has other classes.
      CheckpointError: there is no such checkpoint, or it is damaged.
    """
    run, split = RunDirectory(workdir), config.data.val_split
    recorded, table = run.config(), run.table()

    def guard(config: Config) -> None:
        _require_same_network(config, recorded, run)
        if any(config.eval.window) and jax.process_count() > 1:
            raise ConfigError("config.eval.window: windows slide in one process only. Evaluate in one, or use (0, 0).")

    job = open_job(config, [split], run=run, recorded=recorded, table=table, guard=guard)
    config, (examples,), functions = job.config, job.splits, job.functions
    checkpoints = run.checkpoints()
    step = checkpoints.choose(which)
    like = functions.abstract_state.weights(averaged=False)
    weights = sharding.to_devices(checkpoints.weights(step, like, averaged=config.eval.averaged), job.mesh)
    evaluator = Evaluator(functions, examples)
    result = evaluator(**weights, step=step, detailed=True)
    panels = evaluator.panels(**weights, detailed=True)
    assert result.images is not None
    worst = result.images.worst()[: config.eval.panels]
    pictures = panels | evaluator.panels(**weights, chosen=[i for i in worst if i not in panels], detailed=True)
    if not process.is_first():
        return result
    files = files_of(run, config, step)
    report.write(files.path, result, panels, examples.table, worst={i: pictures[i] for i in worst})
    report.write_confusion_pdf(files.path)
    print(f"checkpoint of step {step} on {len(examples)} examples of {split!r}\n{result.table()}")
    print("\n".join(summary.describe(result)))
    logging.info("report and pictures: %s", files.path)
    return result


def files_of(run: RunDirectory, config: Config, step: int) -> ReportFiles:
    """Where the report of a checkpoint is: another way of applying the network is another result.

    Args:
      run: the run directory.
      config: reads `data.val_split` and `eval`.
      step: that of the checkpoint.
    """
    original = ("original",) if config.eval.resolution == "original" else ()
    ways = (kind for kind in refined(config.eval) if kind != "overlap")
    return run.evaluation(config.data.val_split, str(step), *original, *ways)


def _require_same_network(config: Config, recorded: Config, run: RunDirectory) -> None:
    changed = {
        key: values
        for key, values in differences(config, recorded, free=("model.weights", "model.encoder.weights")).items()
        if key.startswith(("model.", "data.mean", "data.std", "data.bands", "data.range", "loss.head"))
    }
    if changed:
        raise ConfigError(
            f"{run} was trained with another network:\n{rows(changed, then='trained with')}\nUse the run's own values."
        )
