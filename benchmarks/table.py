"""What benchmarks have in common: rows of two figures, and the instructions that both sides may use."""

from __future__ import annotations

import os
from dataclasses import dataclass

# {kind: what XLA, PyTorch and oneDNN are told in the environment}, so that a processor measures for another kind.
ISAS = {
    "native": {},
    "avx2": {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}


def limit_isa(isa: str) -> None:
    """Has this process and its peers compute with the instructions of `isa`; call it before JAX starts."""
    for name, value in ISAS[isa].items():
        before = os.environ.get(name, "") if name == "XLA_FLAGS" else ""
        os.environ[name] = f"{before} {value}".strip()


@dataclass(frozen=True)
class Row:
    """Two figures of one thing, both measured in one run.

    Attributes:
      benchmark: module that measured it.
      what: the operation or network.
      ours: our figure.
      other: the one that it is compared with.
      than: what the other is.
      unit: of both, such as 'ms'; for rates it ends with '/s'.
    """

    benchmark: str
    what: str
    ours: float
    other: float
    than: str
    unit: str

    @property
    def ratio(self) -> float:
        """How many times better ours is: above 1 it is faster, or needs less."""
        ours, other = (self.ours, self.other) if self.unit.endswith("/s") else (self.other, self.ours)
        return ours / other

    def __str__(self) -> str:
        figures = f"{self.ours:>12,.1f}{self.other:>12,.1f} {self.unit:<10}{self.ratio:>7.2f}"
        return f"{self.benchmark:<16}{self.what:<30}{figures}  {self.than}"
