"""The training step beside PyTorch with torch.compile, one and ten steps a program, and where its time goes.

One network after the other; both sides compile at the same time, which takes a minute on ours: XLA tries out kernels of
every convolution. The program of several steps comes last and finds them chosen.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import cases, train_step
from benchmarks.accelerator import trace
from benchmarks.accelerator.record import Recorder
from benchmarks.train_step import Ours

# {network: images a step}, the most important first.
NETWORKS = {
    "unet_resnet34": 16,
    "deeplabv3plus_resnet101_cityscapes": 8,
    "segformer_b2": 16,
    "upernet_convnext_tiny": 16,
}
TINY = {"toy": 2}
DISPATCH, TINY_DISPATCH = 10, 2  # steps of the longer program, and of the profile
TURN = 2.0  # seconds of a turn
NEEDS = 60.0  # seconds that a network takes at least: both sides compile
PATIENCE = 12.0  # seconds that are kept for measuring when a peer is waited for
OURS, PEER = "1 step a program", "torch.compile"


def steps_of_turn(seconds: float, dispatch: int) -> int:
    """Steps, in whole programs of `dispatch`, that take about as long as a turn where one step takes `seconds`."""
    return dispatch * max(1, min(20, round(TURN / seconds / dispatch)))


class Contest:
    """A network on both sides; the peer compiles from the beginning, in a process of its own."""

    def __init__(self, case: cases.Case, *, batch: int, dispatch: int, python: str, stack: ExitStack):
        self.case, self.batch, self._dispatch = case, batch, dispatch
        self._peer: subprocess.Popen[str] | Exception = RuntimeError("no PyTorch: --peer names a Python that has it")
        if python:
            asked = train_step.peer_case(case, batch=batch, layout="channels_last")
            peer = train_step.peer_process(python, "peer_train_step.py", asked, malloc=True)
            try:
                self._peer = stack.enter_context(peer)
            except OSError as error:
                self._peer = error

    def measure(self, result: dict[str, Any], recorder: Recorder) -> None:
        """Fills in the figures one after the other, so that those before a failure stay."""
        single, dispatch = Ours(self.case, batch=self.batch), self._dispatch
        result |= {"size": list(self.case.size), "batch": self.batch, "parameters": single.parameters}
        result |= {"compile_s": round(single.compile_s, 1), "planned_bytes": single.peak_bytes, "flops": single.flops}
        runs: dict[str, Callable[[int], float]] = {OURS: single.run}
        # Toys are not measured: one program a turn.
        steps = steps_of_turn(single.run(dispatch) / dispatch, dispatch) if dispatch == DISPATCH else dispatch
        # On record before the peer, which may keep us waiting until the end of the time.
        self._rate(result, train_step.take_turns(runs, steps=steps, turns=1), steps)
        recorder.note()
        with trying(result, "error_peer"):
            if isinstance(self._peer, Exception):
                raise self._peer
            result["peer"] = train_step.answer(self._peer, timeout=max(1.0, recorder.left - PATIENCE))
            train_step.same_network(single.parameters, result["peer"])
            runs[PEER] = partial(train_step.ask, self._peer)
        if PEER not in runs and isinstance(self._peer, subprocess.Popen):
            self._peer.kill()  # it would go on compiling beside what is measured
        self._rate(result, train_step.take_turns(runs, steps=steps), steps)
        if memory := jax.devices()[0].memory_stats():
            result["peak_bytes_of_process"] = memory.get("peak_bytes_in_use")
        recorder.note()
        with trying(result, "error_profile"), tempfile.TemporaryDirectory() as place:
            result["profile"] = trace.record(lambda: single.run(dispatch), Path(place))
        recorder.note()
        with trying(result, "error_several"):
            several = Ours(self.case, batch=self.batch, dispatch=dispatch)
            result["compile_several_s"] = round(several.compile_s, 1)
            runs[f"{dispatch} steps a program"] = several.run
            self._rate(result, train_step.take_turns(runs, steps=steps), steps)

    def _rate(self, result: dict[str, Any], times: Mapping[str, list[float]], steps: int) -> None:
        """Images a second and what follows from them."""
        rates = {name: self.batch * steps / min(each) for name, each in times.items()}
        result |= {"steps_of_turn": steps, "turns_s": dict(times), "images_per_second": rates}
        if PEER in rates:
            best = max(rate for name, rate in rates.items() if name != PEER)
            result["ratio"] = {OURS: rates[OURS] / rates[PEER], "best": best / rates[PEER]}
        if peak := cases.PEAK_FLOPS.get(jax.devices()[0].device_kind):
            # PyTorch counts convolutions and products alone, as MFU wants it; XLA counts everything.
            flops = result.get("peer", {}).get("flops") or result["flops"]
            result["mfu"] = {name: rate / self.batch * flops / peak for name, rate in rates.items()}


@contextmanager
def trying(result: dict[str, Any], name: str) -> Iterator[None]:
    """Around what a case can do without: an error goes into `result` under `name`."""
    try:
        yield
    except Exception as error:
        result[name] = f"{type(error).__name__}: {error}"[:1000]


def ceilings(*, tiny: bool) -> dict[str, float]:
    """What the device reaches: FLOP/s of a bfloat16 product, bytes a second of a copy (read and written)."""
    side, numbers = (256, 2**16) if tiny else (8192, 2**30)
    a, b = (jax.random.normal(jax.random.key(i), (side, side), jnp.bfloat16) for i in (0, 1))
    long = jax.random.normal(jax.random.key(2), (numbers,), jnp.bfloat16)

    def best(function: Callable[..., jax.Array], *arrays: jax.Array, repeats: int = 10) -> float:
        jitted = jax.jit(function)
        jitted(*arrays).block_until_ready()
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            for _ in range(repeats):
                result = jitted(*arrays)
            result.block_until_ready()
            times.append((time.perf_counter() - begin) / repeats)
        return min(times)

    product, copy = best(jnp.matmul, a, b), best(lambda x: -x, long)
    return {"bfloat16_flops_per_second": 2 * side**3 / product, "bytes_per_second": 2 * 2 * numbers / copy}


def run(recorder: Recorder, options: Mapping[str, Any]) -> None:
    """The step: one case for each network."""
    tiny = options["tiny"]
    sizes, dispatch = (TINY, TINY_DISPATCH) if tiny else (NETWORKS, DISPATCH)
    pending = recorder.plan(["ceilings", *sizes])
    if "ceilings" in pending:
        recorder.case("ceilings", lambda result: result.update(ceilings(tiny=tiny)))
    for name in pending:
        if name not in sizes:
            continue

        def measure(result: dict[str, Any], name: str = name) -> None:
            with ExitStack() as stack:
                case = cases.TOY if tiny else cases.CASES[name]
                contest = Contest(case, batch=sizes[name], dispatch=dispatch, python=options["peer"], stack=stack)
                contest.measure(result, recorder)

        recorder.case(name, measure, needs=1.0 if tiny else NEEDS)
