"""Whether the network of a run directory is computed by JAX, or by ONNX Runtime from an export beside the run."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

from seg_jax.predict import artefacts
from seg_jax.predict.contents import ArtefactError
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import extras, process
from seg_jax.runtime.errors import MachineError

RUNTIMES = ("auto", "jax", "onnx")
PACKAGES = ("onnx", "onnxruntime")
_FILES = re.compile(r"[0-9a-f]+(-last)?\.onnx(\.parity\.json)?")  # named by the digest of a checkpoint


def exported(run: RunDirectory, *, digest: str, runtime: str, step: int, plain: bool) -> artefacts.Artefact | None:
    """The network for ONNX Runtime; None: JAX computes it.

    `auto` takes the export where it is there, was made of this checkpoint and can be used; `onnx` makes it first, which
    takes as long as hundreds of photographs do. Its certificate says that it agrees with the run; see
    `export.certificate`. On accelerators `auto` stays with JAX.

    Args:
      run: the run directory.
      digest: identifies the weights; the export has this name.
      runtime: one of `RUNTIMES`.
      step: of the checkpoint.
      plain: whether nothing is averaged over scales or the mirror image, which exports do not have.

    Raises:
      ArtefactError: `onnx` cannot be had, with the reason and the cure.
    """
    file = run.onnx_folder / f"{digest}.onnx"
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if runtime == "auto":
        if not plain or "onnxruntime" in missing or process.has_accelerator() or not file.is_file():
            return None
        try:
            return artefacts.load(file)
        except (ArtefactError, MachineError) as error:
            logging.warning("%s JAX computes the network instead; --runtime=onnx writes the file anew.", error)
            return None
    if runtime == "jax":
        return None
    if not plain:
        raise ArtefactError("--runtime=onnx with --flip or --scales: exports do not average. Use --runtime=jax.")
    if missing:
        raise ArtefactError(
            f"--runtime=onnx needs {' and '.join(missing)}. Add it: {extras.install_command('onnx')}, or use "
            "--runtime=jax."
        )
    try:
        return artefacts.load(file)
    except ArtefactError:  # none, or a damaged one
        _export(run.path, file, step)
    return artefacts.load(file)


def _export(run: Path, file: Path, step: int) -> None:
    """Writes the file with its certificate in a process of its own; those of other checkpoints are removed."""
    logging.info("exporting %s to ONNX, once", run)
    command = [sys.executable, "-m", "seg_jax.export", str(run), "--format=onnx", f"--out={file}"]
    here = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    own = {**os.environ, "PYTHONPATH": here}
    done = subprocess.run([*command, f"--checkpoint={step}"], env=own, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1].removeprefix("error: ")
        raise ArtefactError(f"--runtime=onnx: the export failed: {said} Use --runtime=jax.")
    for other in file.parent.iterdir():
        if _FILES.fullmatch(other.name) and not other.name.startswith(file.name):
            other.unlink()
