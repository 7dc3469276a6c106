"""Whether an accelerator computes what the CPU beside it does: whole training steps, and the functions around them.

Every family of encoders and every decoder takes two steps of SGD on one random batch, at the output stride of the
decoder; then every family takes them at the strides 8, 16 and 32. The CPU computes in float32. In float32 (matrix
products at the precision 'highest', no TF32) the losses of both steps and the logits before them have to be within
1e-3 of the CPU's, relatively; the second loss sees the gradients of the first step. Bfloat16 has to be near. A device
that is the CPU itself is compared with itself: that tries the program, not the device.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from benchmarks.accelerator import functions
from benchmarks.accelerator.record import OK, WRONG, Recorder, RefusedError
from seg_jax import models
from seg_jax.config import ConfigError, default
from seg_jax.run import pretrained, program
from seg_jax.runtime import sharding

CLASSES, BATCH, STEPS = 5, 4, 2
THREADS = 8  # compile at once; most of the time is compilation
STRIDES = (8, 16, 32)
STRIDE_DECODER = "deeplabv3plus"
DTYPES = ("float32", "bfloat16")

# Largest relative errors: of the losses, the norm of the gradient, and the logits as a vector.
TOLERANCES = {
    "float32": {"loss": 1e-3, "grad_norm": 1e-2, "logits": 1e-3},
    "bfloat16": {"loss": 5e-2, "grad_norm": 0.5, "logits": 0.25},
}

Job = tuple[tuple[str, ...], Callable[[Recorder, tuple[str, ...]], None]]


def families() -> dict[str, str]:
    """{family of encoders: its first member, which is the smallest}."""
    found: dict[str, str] = {}
    for name in models.ENCODERS:
        family = re.match(r"[a-z]+", name)
        assert family, name
        found.setdefault(family[0], name)
    return found


def networks(*, tiny: bool) -> dict[str, dict[str, Any]]:
    """{label: fields of the configuration}, the most important first."""
    if tiny:
        plain: dict[str, Any] = {"model.encoder.name": "plain", "model.encoder.width": 4, "model.encoder.depth": 2}
        return {"unet on plain": plain | {"model.name": "unet"}}
    encoders = list(families().values())
    found: dict[str, dict[str, Any]] = {}
    for i, decoder in enumerate(models.MODELS):
        encoder = encoders[i % len(encoders)]
        found[f"{decoder} on {encoder}"] = {"model.name": decoder, "model.encoder.name": encoder}
    for encoder in encoders[len(found) :]:
        found[f"unet on {encoder}"] = {"model.name": "unet", "model.encoder.name": encoder}
    for stride in STRIDES:
        for encoder in encoders:
            fields = {"model.name": STRIDE_DECODER, "model.encoder.name": encoder}
            found[f"{STRIDE_DECODER} on {encoder}, stride {stride}"] = {**fields, "model.encoder.output_stride": stride}
    return found


def mesh_of(device: jax.Device) -> Mesh:
    """One device, with the axes of `sharding.make_mesh`."""
    return jax.make_mesh((1,) * len(sharding.AXES), sharding.AXES, (AxisType.Auto,) * 3, devices=[device])


class Steps:
    """A few training steps of one network on one random batch, on any device and in any type.

    Args:
      fields: of the configuration.
      side: of the images.
    """

    def __init__(self, fields: Mapping[str, Any], *, side: int):
        self._fields, self._size = dict(fields), (side, side)
        rng = np.random.default_rng(0)
        self._batch = {
            "image": rng.integers(0, 256, (BATCH, side, side, 3), np.uint8),
            "label": rng.integers(0, CLASSES, (BATCH, side, side), np.uint8),
        }
        self._state: Any = None  # the initial one, on the host

    def _functions(self, mesh: Mesh, dtype: str) -> program.Functions:
        config = default.get_config()
        config.update_from_flattened_dict(
            {
                "model.channels": 32,
                "model.dtype": dtype,
                "augment.flip": 0.0,
                "optim.name": "sgd",
                "optim.schedule": "constant",
                "optim.lr": 0.01,
                "train.batch_size": BATCH,
                **self._fields,
            }
        )
        return program.Functions(pretrained.resolve(config), classes=CLASSES, mesh=mesh)

    def run(self, device: jax.Device, dtype: str) -> dict[str, Any]:
        """Loss and norm of the gradient of each step, logits before them, and seconds of compilation.

        Raises:
          RefusedError: the program has no such network.
        """
        mesh = mesh_of(device)
        # Bfloat16 at the precision that trainings have.
        with jax.default_matmul_precision("highest" if dtype == "float32" else None):
            try:
                functions = self._functions(mesh, dtype)
                if self._state is None:
                    on_host = mesh_of(jax.devices("cpu")[0])
                    self._state = sharding.to_host(self._functions(on_host, dtype).init(), on_host)
                begin = time.perf_counter()
                step = functions.train_step(self._size).compile()
                compile_s = time.perf_counter() - begin
            except ConfigError as error:
                raise RefusedError(str(error)) from error
            return self._run(functions, step, mesh) | {"compile_s": compile_s}

    def _run(self, functions: program.Functions, step: Any, mesh: Mesh) -> dict[str, Any]:
        state = sharding.to_devices(self._state, mesh)
        batch = sharding.place(self._batch, mesh)
        forward = jax.jit(partial(logits, functions.network, functions.config.data))
        found: dict[str, Any] = {"logits": np.asarray(forward(state.params, state.model_state, batch["image"]))}
        losses, norms = [], []
        for _ in range(STEPS):
            state, metrics = step(state, batch, ())
            losses.append(float(metrics["loss"]))
            norms.append(float(metrics["grad_norm"]))
        return found | {"loss": losses, "grad_norm": norms}


def logits(model: Any, data: Any, params: Any, model_state: Any, image: jax.Array) -> jax.Array:
    """What the network says of bytes [b h w 3] in evaluation, float32 [b h w k]."""
    image = models.normalize(image, tuple(data.mean), tuple(data.std))
    return models.forward(model, params, model_state, image, train=False)[0]["logits"].astype(jnp.float32)


def relative(found: Any, wanted: Any) -> float:
    """|found - wanted| / |wanted| of two vectors; NaN if one has any."""
    found, wanted = (np.asarray(values, np.float64).ravel() for values in (found, wanted))
    return float(np.linalg.norm(found - wanted)) / max(float(np.linalg.norm(wanted)), 1e-30)


def judge(found: Mapping[str, Any], wanted: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The figures of a case, and its status."""
    tolerance = TOLERANCES[dtype]
    errors = {name: relative(found[name], wanted[name]) for name in tolerance}
    fine = all(errors[name] <= limit for name, limit in tolerance.items())
    return {
        "status": OK if fine else WRONG,
        "errors": errors,
        "tolerance": tolerance,
        "loss": found["loss"],
        "loss_cpu": wanted["loss"],
        "compile_s": round(found["compile_s"], 2),
    } | ({} if fine else {"error": ", ".join(f"{name} is off by {value:.2g}" for name, value in errors.items())})


def network_job(label: str, fields: Mapping[str, Any], *, side: int, needs: float) -> Job:
    """Both types of one network, with one run on the CPU."""

    def work(recorder: Recorder, cases: tuple[str, ...]) -> None:
        steps = Steps(fields, side=side)
        wanted: dict[str, Any] = {}
        for case in cases:

            def compare(result: dict[str, Any], dtype: str = case.rsplit(", ", 1)[1]) -> None:
                if not wanted:
                    wanted.update(steps.run(jax.devices("cpu")[0], "float32"))
                result |= judge(steps.run(jax.devices()[0], dtype), wanted, dtype)

            recorder.case(case, compare, needs=needs)

    return tuple(f"{label}, {dtype}" for dtype in DTYPES), work


def function_job(name: str, check: Callable[[], dict[str, Any]], *, needs: float) -> Job:
    """One function of `functions`."""

    def work(recorder: Recorder, cases: tuple[str, ...]) -> None:
        for case in cases:
            recorder.case(case, lambda result: result.update(check()), needs=needs)

    return (name,), work


def run(recorder: Recorder, options: Mapping[str, Any]) -> None:
    """The step: everything that its time allows, several at once unless `alone`."""
    tiny, side = options["tiny"], 32 if options["tiny"] else 64
    needs = 1.0 if tiny else 4.0
    jobs = [function_job(name, check, needs=needs) for name, check in functions.checks(tiny=tiny).items()]
    jobs += [network_job(label, fields, side=side, needs=needs) for label, fields in networks(tiny=tiny).items()]
    pending = set(recorder.plan([case for cases, _ in jobs for case in cases]))
    recorder.note(precision="highest", images=[BATCH, side, side], steps=STEPS)
    threads = 1 if options["alone"] or jax.default_backend() == "cpu" else THREADS
    with ThreadPoolExecutor(threads) as pool:
        left = [(tuple(case for case in cases if case in pending), work) for cases, work in jobs]
        for done in [pool.submit(work, recorder, mine) for mine, work in left if mine]:
            done.result()
