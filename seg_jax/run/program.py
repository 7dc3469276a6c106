"""The compiled functions of a run, which training, evaluation and export share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
from jax.sharding import Mesh

from seg_jax import augment, data, losses, models, optim
from seg_jax.config import Config, Size, check_names, checked, late, lookup, with_fields
from seg_jax.data import fitting, stats
from seg_jax.data.depth import Depth
from seg_jax.data.labels.builtin import table_of
from seg_jax.run import initial
from seg_jax.run.directory import RunDirectory
from seg_jax.run.length import Length
from seg_jax.run.teacher import Teacher
from seg_jax.runtime import sharding, xla
from seg_jax.steps import distil, evaluate, predict, train
from seg_jax.steps.state import TrainState


def check(config: Config, *, devices: int, new: bool = True) -> None:
    """Refuses a configuration that cannot be run, before anything is read.

    Args:
      config: checked here too, see `config.checked`.
      devices: number of devices that share a batch.
      new: whether nothing has been trained with it yet, see `config.check_new`.

    Raises:
      ConfigError: naming the field, its value, the rule and the cure.
    """
    config = checked(config)
    check_names(config)
    data.check(config.data)
    late.check_devices(config, devices)
    reduction = models.reduction(models.build(config, classes=2)) if any(config.augment.crop) else 1
    late.check_network(config, reduction=reduction)
    if new:
        late.check_new(config, images=models.decoders.least_images(config.model))
    if scheme := late.weighting(config):
        lookup(stats.SCHEMES, scheme, "loss.class_weights")


@dataclass(frozen=True)
class Functions:
    """The functions of one run, compiled for its shapes when they are first needed.

    Attributes:
      config: the whole configuration, resolved.
      classes: number of classes.
      mesh: the devices.
      length: the course of the run, which the learning-rate schedule follows; what is not trained needs none.
      own_losses: the functions of the names in `config.loss.own`.
      names: of the classes, by which the head of another run is taken; (): those of their mere number.
    """

    config: Config
    classes: int
    mesh: Mesh
    length: Length = field(default_factory=Length)
    own_losses: Mapping[str, losses.OwnLoss] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    @cached_property
    def network(self) -> Any:
        """The network that is trained, a module that only `models` looks into."""
        return models.build(self.config, classes=self.classes)

    @property
    def members(self) -> int:
        """The number of networks that are trained side by side."""
        return self.config.train.seeds

    @cached_property
    def model(self) -> Any:
        """What is evaluated and predicts: the network, or the ensemble of all members."""
        return models.together(self.config, self.network)

    def alone(self) -> Functions:
        """The functions of a single member, whose predictions are not those that are submitted."""
        return replace(self, config=with_fields(self.config, {"train.seeds": 1, "eval.submission": ""}))

    @cached_property
    def optimizer(self) -> optim.Optimizer:
        """What turns gradients into new parameters."""
        return optim.build(
            self.config.optim,
            self.config.finetune,
            steps=self.length.steps,
            frozen_steps=self.length.frozen,
            restarts=self.length.restarts,
        )

    @property
    def normalisation(self) -> distil.Normalisation:
        """(mean, standard deviation) of the images."""
        # An open one would mean that the configuration was not resolved.
        mean, std = tuple(self.config.data.mean), tuple(self.config.data.std)
        assert mean and std, "pretrained.resolve fills in the normalisation"
        return mean, std

    def pictures(self, size: Size, label: Size | None = None) -> fitting.Arrays:
        """Shapes and dtypes of an image and a label of this run, see `fitting.pictures`."""
        return fitting.pictures(size, label, depth=Depth.of(self.config.data), classes=self.classes)

    def init(self) -> TrainState:
        """The state at step 0 on the devices: random, or with the weights that the configuration names.

        Raises:
          WeightsError: they do not fit, see `pretrained.start`.
        """
        places = jax.tree.map(lambda array: array.sharding, self.abstract_state)
        names = self.names or table_of(self.classes).names
        return initial.state(self.network, self.optimizer, self.config, self.mesh, places=places, names=names)

    @cached_property
    def abstract_state(self) -> TrainState:
        """Shapes and dtypes of the state, with its sharding; nothing is computed."""
        shapes = jax.eval_shape(lambda: initial.random_state(self.network, self.optimizer, self.config))
        return sharding.abstract(shapes, self.mesh)

    @cached_property
    def objective(self) -> losses.Objective:
        """What is minimised in training and reported by evaluation."""
        return losses.build(self.config.loss, own=self.own_losses)

    @cached_property
    def _teacher(self) -> Teacher | None:
        run = self.config.loss.teacher
        return Teacher(RunDirectory(run), self.classes, self.mesh) if run else None

    @property
    def teach(self) -> distil.Teach:
        """The logits of the teacher inside of a step, see `steps.distil`."""
        return self._teacher.teach(given=self.normalisation) if self._teacher else distil.no_teacher

    @property
    def abstract_teacher(self) -> Any:
        """Shapes, dtypes and sharding of `teacher`."""
        return self._teacher.abstract if self._teacher else ()

    @cached_property
    def teacher(self) -> Any:
        """Weights of the teacher, a copy on every device, see `Teacher.weights`; () without a teacher."""
        return self._teacher.weights() if self._teacher else ()

    def train_step(
        self, size: Size, *, frozen: bool = False, steps: int = 1, placed: bool = False
    ) -> jax.stages.Lowered:
        """(state, batch, teacher) -> (state, metrics) for images of `size`, to be compiled; the state is donated.

        With `frozen` the encoder is not trained. With several `steps` it takes a list of batches, one for each, and
        metrics are arrays of a number for each step. An ensemble takes a list of batches, one for each member. With
        `placed` images are parts of photographs, and batches say where crops are in them.
        """
        return _train_step(self, size, frozen=frozen, steps=steps, placed=placed)

    def eval_step(self, size: Size, *, batch_size: int = 0, scored: Size | None = None) -> jax.stages.Lowered:
        """(params, model_state, batch, teacher) -> counts for images of `size`, to be compiled.

        Args:
          size: (height, width) of the images.
          batch_size: number of images; 0: `eval.batch_size`.
          scored: (height, width) of the labels, where they have their own and logits are brought to it.
        """
        return _eval_step(self, size, batch_size=batch_size or self.config.eval.batch_size, scored=scored)

    def predict(self, *, flip: bool = False, scales: Sequence[float] = (1.0,), rows: bool = False) -> Any:
        """Jitted (params, model_state, image [b h w c] in 0..255) -> probabilities [b h w k].

        Args:
          flip, scales: the mean over the mirror image and over several sizes, see `steps.predict.make_predict`.
          rows: the batch is split over the mesh, and so is the result; without, each device computes all of it.
        """
        key = (flip, tuple(scales), rows)
        if key not in self._predicts:
            function = predict.build(self.config, model=self.model, flip=flip, scales=scales)
            place = sharding.split(self.mesh) if rows else sharding.replicated(self.mesh)
            self._predicts[key] = jax.jit(function, out_shardings=place)
        return self._predicts[key]

    @cached_property
    def _predicts(self) -> dict[tuple[Any, ...], Any]:
        return {}


def _train_step(functions: Functions, size: Size, *, frozen: bool, steps: int, placed: bool) -> jax.stages.Lowered:
    config, parts, on_cpu = functions.config, sharding.batch_parts(functions.mesh), jax.default_backend() == "cpu"
    step: Any = train.make_train_step(
        model=functions.network,
        optimizer=functions.optimizer,
        objective=functions.objective,
        teach=functions.teach,
        aux_weight=config.loss.aux_weight,
        frozen=frozen,
        accumulate=config.train.accumulate,
        groups=parts,
        ema=config.optim.ema,
        skip_nonfinite=config.train.nonfinite == "skip",
        augment=_augmentation(functions, groups=parts if on_cpu else config.train.batch_size),
        seed=config.seed,
    )
    if functions.members > 1:
        assert steps == 1, "refused by validate"
        step = train.make_members(step, members=functions.members, sequential=on_cpu)
    elif steps > 1:
        step = train.make_dispatch(step)
    arrays = functions.pictures(size) | (fitting.PLACED if placed else {})
    batch: Any = sharding.abstract_batch(config.train.batch_size, arrays, functions.mesh)
    if (count := max(steps, functions.members)) > 1:
        batch = [batch] * count
    places = jax.tree.map(lambda array: array.sharding, functions.abstract_state)
    jitted = jax.jit(
        step,
        donate_argnums=0,
        out_shardings=(places, sharding.replicated(functions.mesh)),
        compiler_options=xla.for_training(),
    )
    return jitted.lower(functions.abstract_state, batch, functions.abstract_teacher)


def _augmentation(functions: Functions, *, groups: int) -> Any:
    mean, std = functions.normalisation
    change = augment.build(
        functions.config.augment, mean=mean, groups=groups, finish=lambda image: models.normalize(image, mean, std)
    )
    rows = sharding.split_rows(functions.mesh)
    # The gather of a warp would leave its result on every device of the axis 'space'.
    return lambda *args: jax.lax.with_sharding_constraint(change(*args), (rows, rows))


def _eval_step(functions: Functions, size: Size, *, batch_size: int, scored: Size | None) -> jax.stages.Lowered:
    mean, std = functions.normalisation
    function = evaluate.make_eval_step(
        model=functions.model,
        head=functions.config.loss.head,
        objective=functions.objective,
        teach=functions.teach,
        threshold=functions.config.eval.threshold,
        mean=mean,
        std=std,
        groups=sharding.batch_parts(functions.mesh),
    )
    jitted = jax.jit(function, out_shardings=sharding.replicated(functions.mesh))
    arrays = functions.pictures(size, scored) | (fitting.SIZES if scored else {})
    state, batch = functions.abstract_state, sharding.abstract_batch(batch_size, arrays, functions.mesh)
    return jitted.lower(state.params, state.model_state, batch, functions.abstract_teacher)
