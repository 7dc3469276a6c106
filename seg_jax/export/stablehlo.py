"""StableHLO by jax.export: one file for CPU, CUDA and TPU that runs with JAX alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

import jax
import jax.export

from seg_jax.export.network import PLATFORMS, Network


def write(network: Network, path: Path) -> None:
    """Writes a zip file of the serialized function and the documents."""
    exported = jax.export.export(jax.jit(network.portable), platforms=PLATFORMS)(network.image)
    content: dict[str, bytes | str] = {"module.bin": bytes(exported.serialize()), **network.documents}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
