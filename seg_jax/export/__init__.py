"""The formats of artefacts. `python -m seg_jax.export` writes them from a run; `predict.artefacts` loads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from seg_jax.export import onnx, safetensors, savedmodel, stablehlo, tflite
from seg_jax.export.network import Network


@dataclass(frozen=True)
class Format:
    """A file format of networks.

    Attributes:
      write: (network, path) -> None.
      needs: packages that must be installed; the extra with the format's name installs them.
      fixed: whether the network is written for one image size.
      archive: whether the run is stored unchanged, including its dtype.
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
