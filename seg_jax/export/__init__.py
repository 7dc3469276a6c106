"""Run directory -> artefact: the formats. `python -m seg_jax.export` writes them, `seg_jax.artefacts` loads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from seg_jax.export import onnx, safetensors, savedmodel, stablehlo, tflite
from seg_jax.export.network import Network


@dataclass(frozen=True)
class Format:
    """A way to store a network.

    Attributes:
      write: (network, path) -> None.
      needs: what has to be installed for it, with the extra of the format's name.
      fixed: images have one size inside, which has to be named.
      archive: it keeps the run as it is, with the type that the run computes in.
    """

    write: Callable[[Network, Path], None]
    needs: tuple[str, ...] = ()
    fixed: bool = False
    archive: bool = False


FORMATS: Mapping[str, Format] = {
    "onnx": Format(onnx.write, needs=("onnx", "onnxruntime")),
    "safetensors": Format(safetensors.write, archive=True),
    "savedmodel": Format(savedmodel.write),
    "stablehlo": Format(stablehlo.write),
    "tflite": Format(tflite.write, needs=("ai_edge_litert",), fixed=True),
}
