"""Prediction on bytes that are on the device: ours beside PyTorch with torch.compile, and the exported artefacts.

Batches of 1 and 16, float32 (TF32 on both sides, as XLA has it by default) and bfloat16, class probabilities and class
ids, at 512x512. Calls follow each other without waiting; the time of a call is the mean of a turn, the best of several
turns. Artefacts take images from the host and give results back there, and so does the run that they are compared with.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import cases, export, train_step
from benchmarks.accelerator.record import NOT_RUN, OK, WRONG, Recorder
from benchmarks.accelerator.train_step import PEER, trying
from seg_jax.export import FORMATS, certificate
from seg_jax.export.network import OUTPUTS, Network
from seg_jax.predict import artefacts

NETWORK, SIZE = "unet_resnet34", (512, 512)
BATCHES, DTYPES = (16, 1), ("bfloat16", "float32")
TURN = 0.3  # seconds of a turn
PATIENCE = 8.0  # seconds that are kept for measuring when a peer is waited for


class Ours:
    """One compiled prediction.

    Args:
      network: whose prediction it is.
      output: one of OUTPUTS.
      batch: images of a call.
      size: (height, width).
    """

    def __init__(self, network: Network, *, output: str, batch: int, size: tuple[int, int]):
        image = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)
        weights = network.weights
        self._arguments = jax.device_put((weights["params"], weights["model_state"], image), jax.devices()[0])
        predict = network.functions.predict()

        def label(*arguments: Any) -> jax.Array:
            return predict(*arguments).argmax(-1).astype(jnp.uint8)

        begin = time.perf_counter()
        self._call = (predict if output == OUTPUTS[0] else jax.jit(label)).lower(*self._arguments).compile()
        self.compile_s = time.perf_counter() - begin
        self.run(2)

    def run(self, calls: int) -> float:
        """Seconds of a call."""
        begin = time.perf_counter()
        for _ in range(calls):
            result = self._call(*self._arguments)
        jax.block_until_ready(result)
        return (time.perf_counter() - begin) / calls


def mean_of(ask: Callable[[int], list[float]], calls: int) -> float:
    """Seconds of a call of the peer."""
    times = ask(calls)
    return sum(times) / len(times)


@contextmanager
def peer(python: str, case: cases.Case, size: tuple[int, int], facts: Mapping[str, Any]) -> Iterator[Any]:
    """The peer's process, or why there is none."""
    if not python:
        yield RuntimeError("no PyTorch: --peer names a Python that has it")
        return
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    asked = {**case.peer(), "height": size[0], "width": size[1], **facts, "device": device}
    with ExitStack() as stack:
        started = train_step.peer_process(python, "peer_inference.py", asked | {"threads": train_step.CORES})
        process: Any
        try:
            process = stack.enter_context(started)
        except OSError as error:
            process = error
        yield process


def compare(
    result: dict[str, Any], ours: Ours, process: Any, *, parameters: int, batch: int, recorder: Recorder
) -> None:
    """Milliseconds of a call on both sides, in turns."""
    calls = max(2, min(200, round(TURN / ours.run(2))))
    result |= {"batch": batch, "compile_s": round(ours.compile_s, 1), "ms": {"seg_jax": 1000 * ours.run(calls)}}
    recorder.note()
    runs: dict[str, Callable[[int], float]] = {"seg_jax": ours.run}
    with trying(result, "error_peer"):
        if isinstance(process, Exception):
            raise process
        result["peer"] = train_step.answer(process, timeout=max(1.0, recorder.left - PATIENCE))
        train_step.same_network(parameters, result["peer"])
        runs[PEER] = partial(mean_of, partial(train_step.ask, process))
        runs[PEER](2)
    times = train_step.take_turns(runs, steps=calls)
    result["ms"] = {name: 1000 * min(each) for name, each in times.items()}
    result["images_per_second"] = {name: 1000 * batch / ms for name, ms in result["ms"].items()}
    if PEER in runs:
        result["ratio"] = result["ms"][PEER] / result["ms"]["seg_jax"]


def artefact_case(result: dict[str, Any], form: str, network: Network, size: tuple[int, int]) -> None:
    """Writes an artefact, compares it with the run on this device, and times both from and to the host."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / form
        FORMATS[form].write(network, path)
        artefact = artefacts.load(path)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(2)]
    found = certificate.compare(
        network, artefact, certificate.Samples([(image, None) for image in images], "noise"), certificate.EXACT
    )
    run = artefacts.rebuilt(network.functions, network.weights, network.metadata)
    result |= {
        "certificate": found,
        "status": OK if found["passed"] else WRONG,
        "ms": {
            form: 1000 * certificate.seconds(artefact, images[0]),
            "run": 1000 * certificate.seconds(run, images[0]),
        },
    }
    if not found["passed"]:
        result["error"] = f"the certificate failed: {found['largest_difference']:.2g}, {found['agreement']:.5f}"


def onnx_case(result: dict[str, Any], network: Network, size: tuple[int, int]) -> None:
    """The same for ONNX Runtime, where it reaches the accelerator."""
    try:
        import onnxruntime
    except ImportError:
        result |= {"status": NOT_RUN, "error": "onnxruntime is not installed"}
        return
    result["providers"] = onnxruntime.get_available_providers()
    if jax.default_backend() == "gpu" and "CUDAExecutionProvider" not in result["providers"]:
        result |= {"status": NOT_RUN, "error": f"onnxruntime has {', '.join(result['providers'])} only"}
        return
    artefact_case(result, "onnx", network, size)


def run(recorder: Recorder, options: Mapping[str, Any]) -> None:
    """The step: artefacts first, then a case for each batch, type and output; all of one type compile together."""
    tiny, python = options["tiny"], options["peer"]
    name, case, size = ("toy", cases.TOY, cases.TOY.size) if tiny else (NETWORK, cases.CASES[NETWORK], SIZE)
    batches, dtypes = ((2,), ("float32",)) if tiny else (BATCHES, DTYPES)
    groups = {
        (dtype, batch): {f"{dtype}, batch {batch}, {output}": output for output in OUTPUTS}
        for batch in batches
        for dtype in dtypes
    }
    names = [label for group in groups.values() for label in group]
    pending = recorder.plan(["StableHLO", *names, "ONNX Runtime"])
    recorder.note(network=name, size=list(size))
    networks = {dtype: export.make_network(case, size=None, dtype=dtype) for dtype in dtypes}
    parameters = networks["float32"].metadata["parameters"]
    if "StableHLO" in pending:
        network = networks["float32"]
        recorder.case("StableHLO", lambda result: artefact_case(result, "stablehlo", network, size), needs=1.0)
    for (dtype, batch), group in groups.items():
        labels = [label for label in group if label in pending]
        if not labels or recorder.left < 2.0:
            continue
        recorder.announce(labels)
        with ExitStack() as stack, ThreadPoolExecutor(len(labels)) as pool:
            peers, futures = {}, {}
            for label in labels:
                facts = {"batch": batch, "dtype": dtype, "output": group[label]}
                peers[label] = stack.enter_context(peer(python, case, size, facts))
                futures[label] = pool.submit(Ours, networks[dtype], output=group[label], batch=batch, size=size)
            for label in labels:

                def measure(result: dict[str, Any], label: str = label, batch: int = batch) -> None:
                    ours = futures[label].result()  # noqa: B023, it is called at once
                    facts = {"parameters": parameters, "batch": batch, "recorder": recorder}
                    compare(result, ours, peers[label], **facts)  # noqa: B023

                recorder.case(label, measure)
    if "ONNX Runtime" in pending:
        network = networks["float32"]
        recorder.case("ONNX Runtime", lambda result: onnx_case(result, network, size), needs=2.0)
