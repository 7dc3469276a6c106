"""The record of weights that a model hub gave: from where, at which commit, with which SHA-256."""

from __future__ import annotations

import json
from typing import Any

from seg_jax import models
from seg_jax.config import Config, ConfigError
from seg_jax.run.directory import RunDirectory


def sources(config: Config) -> list[str]:
    """The configured weights that are on a hub."""
    return [source for source in (config.model.weights, config.model.encoder.weights) if models.hub.parse(source)]


def same(source: str, recorded: str) -> bool:
    """Whether two values of `model.weights` name one file of the hub, in whatever revisions."""
    ours, theirs = models.hub.parse(source), models.hub.parse(recorded)
    if ours is None or theirs is None:
        return False
    return (ours.repository, ours.file) == (theirs.repository, theirs.file)


def record(run: RunDirectory, config: Config) -> None:
    """Writes `weights.json` for a run that begins: the source, its commit, the SHA-256 of its files.

    Args:
      run: the run directory.
      config: as the user gave it, with the revision that was asked for.

    Raises:
      ConfigError: the run was started before from the same commit, with other bytes.
    """
    for source in sources(config):
        reference = models.hub.parse(source)
        assert reference is not None
        fetched = models.hub.fetch(reference)
        now = {"source": source, "commit": fetched.reference.revision, "sha256": dict(fetched.hashes)}
        then = _read(run)
        if then.get("commit") == now["commit"] and then["sha256"] != now["sha256"]:
            raise ConfigError(
                f"{run.weights_file}: {source} had other bytes when this run was started: SHA-256 {then['sha256']}, "
                f"now {now['sha256']}, at the same commit. Delete the copy in {fetched.path}, or the run directory."
            )
        run.write(run.weights_file, json.dumps(now, indent=1) + "\n")


def check(run: RunDirectory, config: Config) -> None:
    """Refuses to resume a run with weights of the hub other than those that it began with; none are fetched.

    Raises:
      ConfigError: another repository, file or revision is configured.
    """
    then = _read(run)
    for source in sources(config) if then else ():
        reference = models.hub.parse(source)
        assert reference is not None
        if source != then["source"] and not (same(source, then["source"]) and reference.revision == then["commit"]):
            raise ConfigError(
                f"{run} was started from {then['source']}, commit {then['commit']}; {source} is another. A resumed run "
                f"has its parameters from its checkpoints. Use {then['source']}, or another --workdir."
            )


def _read(run: RunDirectory) -> dict[str, Any]:
    """What `record` wrote; {} where there is nothing whole: no weights are needed to resume."""
    try:
        found = json.loads(run.weights_file.read_text(encoding="utf-8"))
        return found if {"source", "commit", "sha256"} <= found.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}
