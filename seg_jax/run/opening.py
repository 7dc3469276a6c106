"""From a configuration to a job that can run: checked, resolved, with its data read and its functions at hand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import jax
from jax.sharding import Mesh

from seg_jax import data
from seg_jax.config import Config, ConfigError, DataConfig, check_classes, require, weighting, with_fields
from seg_jax.data import feed, stats
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelTable
from seg_jax.losses import OwnLoss
from seg_jax.run import fetched, length, pretrained, program, record, teacher
from seg_jax.run.directory import RunDirectory
from seg_jax.run.progress import Progress
from seg_jax.run.saving import CheckpointWriter
from seg_jax.runtime import sharding
from seg_jax.steps.state import TrainState

Weigh = Callable[[Examples, DataConfig, str], tuple[float, ...]]


@dataclass(frozen=True)
class Job:
    """A configuration with its data and functions.

    Attributes:
      config: with nothing left open.
      mesh: the devices.
      splits: the examples, in the order of the names that were asked for.
      functions: the compiled functions of the configuration.
    """

    config: Config
    mesh: Mesh
    splits: tuple[Examples, ...]
    functions: program.Functions


def any_size(config: Config) -> bool:
    """Whether the photographs of a split may have different sizes."""
    return all(config.augment.crop) and not any(config.data.size)


def counted(examples: Examples, data: DataConfig, scheme: str) -> tuple[float, ...]:
    """Class weights by the pixels of a split; says what they are."""
    counts = stats.load(examples, data)
    weights = stats.class_weights(counts, scheme)
    pairs = zip(counts.names, weights, strict=True)
    logging.info("class weights by %s: %s", scheme, ", ".join(f"{name} {weight:g}" for name, weight in pairs))
    if counts.missing:
        logging.warning("weight 0, because they occur nowhere in training: %s", ", ".join(counts.missing))
    return weights


def equal(examples: Examples, data: DataConfig, scheme: str) -> tuple[float, ...]:
    """Class weights that cost as much as counted ones, for those who do not want to wait."""
    del data, scheme
    return (1.0,) * len(examples.table)


def open_job(
    config: Config,
    splits: Sequence[str],
    *,
    run: RunDirectory | None,
    recorded: Config | None = None,
    table: LabelTable | None = None,
    guard: Callable[[Config], None] = lambda config: None,
    training: bool = False,
    weigh: Weigh = counted,
    source: data.Source | None = None,
    own_losses: Mapping[str, OwnLoss] = MappingProxyType({}),
) -> Job:
    """The only way from a configuration to data and functions.

    Args:
      config: a configuration; it is not changed.
      splits: names of the splits. Class weights that are named by a scheme are those of the first one.
      run: notes which files were checked; None: files are not checked, and read when they are needed.
      recorded: the configuration of the run that is resumed or evaluated: what was left open then has been decided.
      table: the classes that the data must have; None: any.
      guard: called with the resolved and checked configuration before any data is read; raises to refuse it.
      training: whether the first split is trained on, which `data.check` may spare the check of every example. Others
        are read as a whole anyway.
      weigh: (examples, config.data, scheme) -> class weights.
      source: of the data, in place of the one that `config.data.source` names.
      own_losses: the functions of the names in `config.loss.own`.

    Raises:
      ConfigError, DataError, LabelError, WeightsError: with the value, the rule and the cure.
    """
    config = pretrained.as_recorded(config, recorded) if recorded else pretrained.resolve(config)
    mesh = configured_mesh(config)
    program.check(config, devices=sharding.batch_parts(mesh), new=recorded is None)
    guard(config)
    examples = tuple(data.load(config, split, source=source) for split in splits)
    if training:
        length.run_length(config, examples=len(examples[0]))  # refuses before every file is read
    found = examples[0].table
    if table is not None and sorted(found.names) != sorted(table.names):
        raise ConfigError(f"the data has the classes {found.names}, the run in {run} {table.names}; they must agree.")
    if table is not None and found.names != table.names:
        logging.info("the data has the classes of the run in another order; they are matched by name")
        examples = tuple(data.in_order(one, table.names) for one in examples)
    table = table or found
    check_classes(config, classes=len(table))
    teacher.check(config, table)
    if run is not None:
        if training and config.data.short_side:  # crops show no more, so that JPEG need not be decoded as a whole
            examples = (examples[0].with_enough(config.data.short_side * config.augment.scale[1]), *examples[1:])
        seeds = (config.seed if training else None, *(None for _ in splits[1:]))
        examples = tuple(
            feed.prepare(one, config.data, mesh, record=run.checked(one.split), any_size=any_size(config), seed=seed)
            for one, seed in zip(examples, seeds, strict=True)
        )
    config = _measured(config, examples[0])
    if scheme := weighting(config):
        config = with_fields(config, {"loss.class_weights": weigh(examples[0], config.data, scheme)})
    functions = program.Functions(config, classes=len(table), mesh=mesh, own_losses=own_losses, names=table.names)
    return Job(config, mesh, examples, functions)


def _measured(config: Config, examples: Examples) -> Config:
    """The configuration with the mean and the deviation of each band, where it leaves them open; says what they are."""
    open_fields = [name for name in ("mean", "std") if not config.data[name]]
    if not open_fields or examples.depth.is_rgb:
        return config
    counts = stats.load(examples, config.data)
    # A band of one value everywhere says nothing; divided by 0 it would be NaN.
    found = {"mean": counts.mean, "std": tuple(max(value, 1 / 255) for value in counts.std)}
    for name in open_fields:
        logging.info("data.%s of the %d bands, measured on %r: %s", name, len(found[name]), examples.split, found[name])
    return with_fields(config, {f"data.{name}": found[name] for name in open_fields})


def open_training(
    config: Config,
    run: RunDirectory,
    *,
    source: data.Source | None = None,
    own_losses: Mapping[str, OwnLoss] = MappingProxyType({}),
) -> Job:
    """The job that `run` is to be trained on, with its length; the run directory records both.

    Args:
      config: what to train; it is not changed.
      run: the run directory, new or to be resumed.
      source, own_losses: see `open_job`.

    Raises:
      ConfigError: `run` cannot be resumed with this configuration or these data; or as `open_job`.
    """
    recorded = record.resumable(run)
    if recorded:
        fetched.check(run, config)

    def guard(config: Config) -> None:
        record.begin(run, config)
        length.refuse_jump(config, recorded, run)

    splits = (config.data.train_split, config.data.val_split)
    job = open_job(
        config,
        splits,
        run=run,
        recorded=recorded,
        guard=guard,
        training=True,
        source=source,
        own_losses=own_losses,
    )
    for one, field in zip(job.splits, ("train_split", "val_split"), strict=True):
        require_labels(one, field)
    train = job.splits[0]
    asked, config = config, length.lengthened(job.config, recorded, run, examples=len(train))
    functions = replace(job.functions, config=config, length=length.plan(config, examples=len(train)))
    record.write_table(run, train.table)
    run.write_config(config)
    if not recorded:
        fetched.record(run, asked)
    return replace(job, config=config, functions=functions)


def require_labels(examples: Examples, field: str) -> None:
    """Refuses a split in which every pixel is ignored: it teaches nothing, and no score of it exists.

    Args:
      examples: the split, checked.
      field: that of `config.data` which names it.

    Raises:
      DataError: with the number of masks, and what to do.
    """
    if not examples.labelled:
        raise DataError(
            f"config.data.{field} = {examples.split!r} has no labelled pixel: its {len(examples)} masks say 'ignore' "
            f"everywhere, as those of a test set do. Name a split with labels: --config.data.{field}=NAME. If these "
            "masks do have labels, `python -m seg_jax.data inspect` shows what their values are taken for."
        )


def begin(job: Job, checkpoints: CheckpointWriter) -> tuple[TrainState, Progress]:
    """State and progress of the newest checkpoint, or of step 0.

    Raises:
      ConfigError: the examples are not those that the run was started with.
      CheckpointError, WeightsError: the arrays cannot be read, or do not fit.
    """
    restored = checkpoints.restore_latest(job.functions.abstract_state)
    if restored is None:
        return job.functions.init(), Progress()
    state, meta = restored
    record.require_same_examples(meta, *job.splits)
    logging.info("resuming after step %d of %d", int(state.step), job.functions.length.steps)
    progress = replace(Progress.from_json(meta["memory"]), unreported=meta.get("unreported", {}))
    return sharding.to_devices(state, job.mesh), progress


def configured_mesh(config: Config) -> Mesh:
    """The mesh that `config.mesh` describes, over all devices of all processes.

    Raises:
      ConfigError: the axes do not fit the devices.
    """
    devices, local = jax.device_count(), jax.local_device_count()
    data, model, space = config.mesh.data, config.mesh.model, config.mesh.space
    field, needed = ("mesh.model", model * space) if data == -1 else ("mesh.data", data * model * space)
    require(
        devices % needed == 0 if data == -1 else devices == needed,
        config,
        field,
        f"mesh.data x mesh.model x mesh.space are the {devices} devices",
        f"Use --config.mesh.data=-1 and axes whose product divides {devices}",
    )
    require(
        local % space == 0,
        config,
        "mesh.space",
        f"the rows of an image are split over devices of one process, which has {local}",
        f"Use a divisor of {local}",
    )
    return sharding.make_mesh(model=model, space=space)
