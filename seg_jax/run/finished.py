"""Whether a run has anything left to do, told from its directory alone: no data is read and nothing is compiled."""

from __future__ import annotations

from seg_jax.config import FREE, Config, checked, differences
from seg_jax.run import pretrained
from seg_jax.run.directory import RunDirectory
from seg_jax.run.stored import PARTS, Stored
from seg_jax.runtime import documents
from seg_jax.runtime.errors import SegJaxError


def finished_step(config: Config, run: RunDirectory) -> int | None:
    """The last step of a run that this configuration has finished.

    A run is finished where `run.json`, which is written at the end, names the newest checkpoint, that checkpoint is
    whole, and its own configuration is this one, length included. Whether the data is still there makes no difference.

    Args:
      config: what the user asks for; it may leave open what the run has decided.
      run: the run directory.

    Returns:
      None where there is something to do or to complain about, which the way through `opening` finds out.
    """
    try:
        facts, checkpoints = documents.fitting(run.facts_file.read_bytes(), {"steps": int}), run.checkpoints()
        ended = max(checkpoints.steps(), default=None)
        if not facts or facts["steps"] != ended:
            return None
        stored = Stored(checkpoints.directory / str(ended))
        meta = stored.meta()
        then = checked(meta["config"])
        if differences(pretrained.as_recorded(config, then), then, free=FREE):
            return None
        for part in PARTS:
            stored.arrays(part, meta)
    except (SegJaxError, OSError, KeyError):  # missing, damaged, or of another version
        return None
    return ended
