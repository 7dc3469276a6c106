"""From a configuration to the compiled functions of one run: what train, evaluate and predict share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from seg_jax import augment, data, losses, models, optim, sharding
from seg_jax.config import (
    Config,
    Size,
    check_devices,
    check_names,
    checked,
    load,
    lookup,
    require,
    weighting,
    with_fields,
)
from seg_jax.data import stats
from seg_jax.run import pretrained
from seg_jax.run.checkpoint import Checkpoints
from seg_jax.steps import evaluate, predict, train
from seg_jax.steps.state import TrainState


def compiler_options() -> dict[str, Any]:
    """What XLA is told of a training step: on CPU to use all of the vector unit, not 256 bits of it."""
    return {"xla_cpu_prefer_vector_width": 512} if jax.default_backend() == "cpu" else {}


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
        f"an image lies on devices of one process, which has {local}",
        f"Use a divisor of {local}",
    )
    return sharding.make_mesh(model=model, space=space)


def check(config: Config, *, devices: int) -> None:
    """Refuses a configuration that cannot be run, before anything is read.

    Args:
      config: checked here too, see `config.checked`.
      devices: number of devices that share a batch.

    Raises:
      ConfigError: naming the field, its value, the rule and the cure.
    """
    config = checked(config)
    check_names(config)
    data.check(config.data)
    check_devices(config, devices)
    if scheme := weighting(config):
        lookup(stats.SCHEMES, scheme, "loss.class_weights")


@dataclass(frozen=True)
class Program:
    """The functions of one run, compiled for its shapes when they are first needed.

    Attributes:
      config: the whole configuration.
      classes: number of classes.
      mesh: the devices.
      steps: length of the run, for the learning-rate schedule.
      frozen_steps: of these, how many with a frozen encoder.
      own_losses: the functions of the names in `config.loss.own`.
    """

    config: Config
    classes: int
    mesh: Mesh
    steps: int = 1
    frozen_steps: int = 0
    own_losses: Mapping[str, losses.OwnLoss] = field(default_factory=dict)

    @cached_property
    def network(self) -> Any:
        """The network that is trained, a module that only `models` looks into."""
        return models.build(self.config, classes=self.classes)

    @property
    def members(self) -> int:
        """How many of them work together."""
        return self.config.train.seeds

    @cached_property
    def model(self) -> Any:
        """What is evaluated and predicts: the network, or all of them together."""
        return models.together(self.config, self.network)

    def alone(self) -> Program:
        """The program of a single member, whose predictions are not those that are submitted."""
        return replace(self, config=with_fields(self.config, {"train.seeds": 1, "eval.submission": ""}))

    @cached_property
    def _optimizer(self) -> Any:
        return optim.build(self.config.optim, self.config.finetune, steps=self.steps, frozen_steps=self.frozen_steps)

    @property
    def _normalisation(self) -> dict[str, tuple[float, ...]]:
        # An open one would mean that the configuration was not resolved.
        mean, std = tuple(self.config.data.mean), tuple(self.config.data.std)
        assert mean and std, "pretrained.resolve fills in the normalisation"
        return {"mean": mean, "std": std}

    def _init(self) -> TrainState:
        # Parameters do not depend on the size of the image; the smallest one makes the trace cheap.
        side = 32

        def begin(seed: Any) -> TrainState:
            params, model_state = models.init(self.network, jax.random.key(seed), (1, side, side, 3))
            opt_state = self._optimizer.init(params)
            return TrainState.begin(params, model_state, opt_state, averaged=self.config.optim.ema > 0)

        seed = self.config.seed
        if self.members == 1:
            return begin(seed)
        first = jax.tree.map(
            lambda all_of_them: all_of_them[0], states := jax.vmap(begin)(seed + jnp.arange(self.members))
        )
        return replace(states, step=first.step, lr_scale=first.lr_scale)

    def init(self) -> TrainState:
        """The state at step 0 on the devices: random, or with the weights that the configuration names.

        Raises:
          WeightsError: they do not fit, see `pretrained.start`.
        """
        # It runs once: compiling it without optimization takes a quarter of the time.
        quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
        state = jax.jit(self._init, out_shardings=self._places, compiler_options=quick)()
        host = sharding.to_host({"params": state.params, "model_state": state.model_state}, self.mesh)
        if self.members == 1:
            params, model_state = pretrained.start(self.config, self.network, **host)
        else:
            each = [jax.tree.map(lambda array, i=i: array[i], host) for i in range(self.members)]
            started = [pretrained.start(self.config, self.network, **one) for one in each]
            params, model_state = jax.tree.map(lambda *arrays: np.stack(arrays), *started)
        begun = TrainState.begin(params, model_state, {}, averaged=bool(state.ema))
        begun = sharding.to_devices(begun, self.mesh)
        return begun.replace(opt_state=state.opt_state, skipped=state.skipped)

    @cached_property
    def _places(self) -> TrainState:
        return sharding.spread(self._shapes, self.mesh)

    @cached_property
    def _shapes(self) -> TrainState:
        return jax.eval_shape(self._init)

    @cached_property
    def abstract_state(self) -> TrainState:
        """Shapes and dtypes of the state, with its sharding; nothing is computed."""
        return jax.tree.map(
            lambda a, place: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place),
            self._shapes,
            self._places,
        )

    @cached_property
    def objective(self) -> losses.Objective:
        """What is minimised in training and reported by evaluation."""
        return losses.build(self.config.loss, own=self.own_losses)

    @cached_property
    def _teacher(self) -> Program | None:
        """The program of the run that is distilled from."""
        if not self.config.loss.teacher:
            return None
        recorded = load(Path(self.config.loss.teacher).expanduser() / "config.json")
        return Program(recorded, classes=self.classes, mesh=self.mesh)

    @property
    def _teach(self) -> train.Teach:
        if self._teacher is None:
            return train.no_teacher
        own, given = self._teacher._normalisation, self._normalisation
        return train.make_teach(
            model=self._teacher.model, own=(own["mean"], own["std"]), given=(given["mean"], given["std"])
        )

    @property
    def _abstract_teacher(self) -> Any:
        return () if self._teacher is None else self._teacher.abstract_state.weights(averaged=False)

    @cached_property
    def teacher(self) -> Any:
        """Weights of the teacher's best checkpoint, a copy on every device; () without a teacher.

        Raises:
          CheckpointError: it has none, or a damaged one.
        """
        if self._teacher is None:
            return ()
        checkpoints = Checkpoints(Path(self.config.loss.teacher).expanduser() / "checkpoints", create=False)
        return sharding.to_devices(checkpoints.weights(checkpoints.choose("best"), self._abstract_teacher), self.mesh)

    def _abstract_batch(self, batch_size: int, size: Size) -> dict[str, jax.ShapeDtypeStruct]:
        place = sharding.split_rows(self.mesh)
        return {
            "image": jax.ShapeDtypeStruct((batch_size, *size, 3), jnp.uint8, sharding=place),
            "label": jax.ShapeDtypeStruct((batch_size, *size), jnp.uint8, sharding=place),
        }

    def train_step(self, size: Size, *, frozen: bool = False, steps: int = 1) -> jax.stages.Compiled:
        """Compiled (state, batch, teacher) -> (state, metrics) for images of `size`; the state is donated.

        With `frozen` the encoder is not trained. With several `steps` it takes a list of so many batches, and metrics
        are an array of each step's. An ensemble takes a list of a batch for each member.
        """
        config = self.config
        on_cpu = jax.default_backend() == "cpu"
        function = train.make_train_step(
            model=self.network,
            optimizer=self._optimizer,
            objective=self.objective,
            teach=self._teach,
            aux_weight=config.loss.aux_weight,
            frozen=frozen,
            accumulate=config.train.accumulate,
            groups=sharding.batch_parts(self.mesh),
            ema=config.optim.ema,
            skip_nonfinite=config.train.nonfinite == "skip",
            augment=self._augment(sharding.batch_parts(self.mesh) if on_cpu else config.train.batch_size),
            seed=config.seed,
        )
        batch: Any = self._abstract_batch(config.train.batch_size, size)
        if self.members > 1:
            assert steps == 1, "refused by validate"
            changed: Any = train.make_members(function, members=self.members, sequential=on_cpu)
        else:
            changed = train.make_dispatch(function) if steps > 1 else function
        batches = [batch] * max(steps, self.members)
        jitted = jax.jit(
            changed,
            donate_argnums=0,
            out_shardings=(self._places, sharding.replicated(self.mesh)),
            compiler_options=compiler_options(),
        )
        given = batches if len(batches) > 1 else batch
        return jitted.lower(self.abstract_state, given, self._abstract_teacher).compile()

    def _augment(self, groups: int) -> Any:
        norm = self._normalisation
        change = augment.build(
            self.config.augment,
            mean=norm["mean"],
            groups=groups,
            finish=lambda image: models.normalize(image, **norm),
        )
        rows = sharding.split_rows(self.mesh)
        # The gather of a warp would leave its result on every device of the axis 'space'.
        return lambda *args: jax.lax.with_sharding_constraint(change(*args), (rows, rows))

    def eval_step(self, size: Size) -> jax.stages.Compiled:
        """Compiled (params, model_state, batch, teacher) -> counts for images of `size`."""
        function = evaluate.make_eval_step(
            model=self.model,
            classes=self.classes,
            head=self.config.loss.head,
            objective=self.objective,
            teach=self._teach,
            threshold=self.config.eval.threshold,
            **self._normalisation,
        )
        jitted = jax.jit(function, out_shardings=sharding.replicated(self.mesh))
        state = self.abstract_state
        batch = self._abstract_batch(self.config.eval.batch_size, size)
        return jitted.lower(state.params, state.model_state, batch, self._abstract_teacher).compile()

    @cached_property
    def predict(self) -> Any:
        """Jitted (params, model_state, image uint8 [b h w 3]) -> probabilities [b h w k]."""
        return self.predict_with()

    @cached_property
    def predict_rows(self) -> Any:
        """The same as `eval.flip` and `eval.scales` say, for a batch that is split over the mesh, into its rows."""
        options = self.config.eval
        return jax.jit(self._predict(flip=options.flip, scales=options.scales), out_shardings=sharding.split(self.mesh))

    @cached_property
    def predict_windows(self) -> Any:
        """The same for windows of an image, which are in every process."""
        return self.predict_with(flip=self.config.eval.flip, scales=self.config.eval.scales)

    def predict_with(self, *, flip: bool = False, scales: Sequence[float] = (1.0,)) -> Any:
        """`predict`, averaged over the mirror image and over several sizes, see `steps.predict.make_predict`."""
        return jax.jit(self._predict(flip=flip, scales=scales), out_shardings=sharding.replicated(self.mesh))

    def _predict(self, *, flip: bool = False, scales: Sequence[float] = (1.0,)) -> Any:
        return predict.build(self.config, model=self.model, flip=flip, scales=scales)


def run_length(config: Config, *, examples: int) -> tuple[int, int]:
    """(steps of the run, steps between evaluations) for a training split of `examples`; epochs become steps here.

    Raises:
      ConfigError: the run would end within its warm-up.
    """
    per_epoch = examples / config.train.batch_size
    steps = config.train.steps or max(1, math.ceil(config.train.epochs * per_epoch))
    require(
        config.optim.warmup_steps < steps,
        config,
        "optim.warmup_steps",
        f"the warm-up ends before the run does, after {steps} steps",
        "Use 0 for none, or a longer run",
    )
    if config.eval.every_steps:
        every = config.eval.every_steps
    elif config.eval.every_epochs:
        every = max(1, round(config.eval.every_epochs * per_epoch))
    else:
        every = steps
    return steps, every


def freeze_length(config: Config, *, examples: int, steps: int) -> int:
    """For how many of the `steps` of a run the encoder is frozen; epochs become steps here.

    Raises:
      ConfigError: a second learning rate without a second phase.
    """
    per_epoch = examples / config.train.batch_size
    asked = config.finetune.freeze_steps or math.ceil(config.finetune.freeze_epochs * per_epoch)
    frozen = steps if config.finetune.freeze else min(asked, steps)
    require(
        not config.finetune.lr or 0 < frozen < steps,
        config,
        "finetune.lr",
        f"it is the learning rate after the encoder was frozen, which ends within the run of {steps} steps",
        "Set finetune.freeze_steps or finetune.freeze_epochs, or use 0",
    )
    return frozen


def peak_memory(compiled: jax.stages.Compiled) -> int:
    """Bytes that a call needs on each device: arguments, results and everything between, as XLA planned them."""
    memory: Any = compiled.memory_analysis()
    return int(
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )


def count_flops(compiled: jax.stages.Compiled) -> float:
    """Floating-point operations of a call on each device, counted by XLA; NaN where it does not count."""
    return float((compiled.cost_analysis() or {}).get("flops", math.nan))


def describe(program: Program, *, size: Size, eval_size: Size) -> str:
    """Compiles both steps and says what they cost: parameters, FLOPs, memory."""
    state = program.abstract_state
    lines = ["parameters"]
    for part, tree in state.params.items():
        lines.append(f"  {part:<22}{models.count(tree):>14,d}")
    lines.append(f"  {'total':<22}{models.count(state.params):>14,d}")
    for name, batch, image_size, compiled in (
        (
            "train step",
            program.config.train.batch_size,
            size,
            program.train_step(size, frozen=program.config.finetune.freeze),
        ),
        ("eval step", program.config.eval.batch_size, eval_size, program.eval_step(eval_size)),
    ):
        peak, flops = peak_memory(compiled), count_flops(compiled)
        lines.append(f"{name}: batch {batch} of {image_size[0]}x{image_size[1]} on {program.mesh.size} devices")
        lines.append(f"  {'FLOPs':<22}{flops / 1e9:>14,.2f} G  (counted by XLA, per device)")
        lines.append(f"  {'peak memory':<22}{peak / 2**20:>14,.1f} MiB per device")
    return "\n".join(lines)
