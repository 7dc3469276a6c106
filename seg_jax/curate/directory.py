"""`prepare DIR`: a directory as `inspect` understands it, written in another form with a configuration to train."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from seg_jax.config import Config, flatten
from seg_jax.curate import archives, formats, plan, propose, pseudo
from seg_jax.curate import prepare as writing
from seg_jax.curate.configuration import configuration, splits_of
from seg_jax.curate.proposal import Proposal
from seg_jax.data.prepared import MANIFEST, SOURCE


def prepare(
    root: Path,
    flags: Sequence[str],
    *,
    to: str,
    out: Path,
    photos: str | None,
    splits: str | None,
    labeller: pseudo.Labeller | None = None,
) -> str:
    """Writes the data set in a directory at its stored sizes, and `OUT/NAME.py`, which trains on what was written.

    A configuration that is there already stays as it is.

    Args:
      root: any directory that `propose` takes.
      flags: overrides of the configuration that reads it, such as --config.data.skip_bad=True.
      to, out, photos: see `prepare.prepare`; photographs stay as they are unless `photos` says otherwise.
      splits: their names, 'a,b'; None: those of the configuration.
      labeller: labels photographs that have no labels; None: those of the data set are used.

    Returns:
      What was read and written, and the command that trains.

    Raises:
      ConfigError, DataError, LabelError: the directory cannot be read; the message says what to do.
    """
    root = root.expanduser()
    note = ""
    proposal = source = None
    if labeller:
        proposal, photographs = pseudo.propose(root, labeller)
        source = pseudo.source(labeller, photographs, out)
    elif zipped := archives.found(root):
        root = out.with_name(f"{out.name}_archives")
        note = archives.unpack(zipped, root) + "\n"
    proposal = proposal or propose.propose(root)
    size = proposal.fields.get("data.size")
    stored = replace(proposal, fields={name: value for name, value in proposal.fields.items() if name != "data.size"})
    with proposed(stored, out / SOURCE, flags) as config:
        resized = all(config.data.size)
        photos = photos or (formats.ORIGINAL if to == "folder" and not resized else "jpeg")
        parts = splits_of(config, splits, source=source)
        labels = labeller.record if labeller else {}
        summary = described(out, writing.prepare(parts, config, to=to, out=out, photos=photos, labels=labels))
    flags = formats.FORMATS[to].flags.format(out=out.resolve()).removeprefix("--").split(" --")
    fields: dict = dict(flag.removeprefix("config.").split("=", 1) for flag in flags)
    fields |= {name: flatten(config)[name] for name in ("data.train_split", "data.val_split")}
    fields |= {"data.size": size} if size and not resized else {}
    if photos == formats.ORIGINAL:
        fields |= {name: value for name in ("data.bands", "data.range") if (value := flatten(config)[name])}
    proposal = Proposal(out, proposal.summary, fields)
    path = out / f"{out.resolve().name}.py"
    if path.exists():
        summary += f"\n{path} is there already and stays as it is; remove it and run the command again for a new one"
    else:
        with proposed(proposal, out / SOURCE, ()) as config:
            planned = plan.plan(plan.fingerprint(splits_of(config)), plan.device())
        both = f"{proposal.summary}\n\n{planned.text}"
        propose.write_configuration(replace(proposal, fields={**fields, **planned.fields}, summary=both), path)
    train = f"python -m seg_jax.main --config={shlex.quote(str(path))} --workdir=runs/{shlex.quote(path.stem)}"
    return f"{note}{proposal.summary}\n{summary}\ntrain with {train}"


@contextmanager
def proposed(proposal: Proposal, place: Path, flags: Sequence[str]) -> Iterator[Config]:
    """The configuration of a proposal; the files behind it are there for as long.

    Args:
      proposal: that of `propose.propose`.
      place: a directory that is made for these files, and removed.
      flags: overrides of the configuration.
    """
    try:
        shutil.rmtree(place, ignore_errors=True)  # left by a process that was killed
        propose.write(proposal, place / "config.py")
        yield configuration([f"--config={place / 'config.py'}", *flags])
    finally:
        shutil.rmtree(place, ignore_errors=True)


def written(config: Config, *, to: str, out: Path, photos: str, splits: str | None) -> str:
    """Writes the splits that a configuration reads, see `prepare.prepare`, and says how much there is."""
    return described(out, writing.prepare(splits_of(config, splits), config, to=to, out=out, photos=photos))


def described(out: Path, manifest: Mapping[str, Any]) -> str:
    """What a manifest says that there is."""
    size = sum(file["bytes"] for file in manifest["files"].values())
    counts = ", ".join(f"{n} of {split}" for split, n in manifest["examples"].items())
    left_out = sum(map(len, manifest["left_out"].values()))
    more = f"\n{left_out} examples are left out; {MANIFEST} names each with the reason" if left_out else ""
    return f"{out}: {counts}; {len(manifest['files'])} files, {size / 2**20:,.1f} MiB, {MANIFEST}{more}"
