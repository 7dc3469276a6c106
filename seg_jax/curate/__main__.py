"""The command line: python -m seg_jax.data inspect|lint|browse|stats|prepare; each has --help."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from seg_jax import viz
from seg_jax.config import Config, ConfigError
from seg_jax.curate import browse, directory, formats, inspect, lint, plan, propose, pseudo, ranges
from seg_jax.curate.configuration import configuration, splits_of
from seg_jax.curate.proposal import unfit
from seg_jax.data import stats
from seg_jax.data.examples import Examples
from seg_jax.runtime import process
from seg_jax.runtime.errors import SegJaxError
from seg_jax.runtime.files import write_bytes


class Parser(argparse.ArgumentParser):
    """Reports wrong usage as one line and exit code 1, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Raises the message as a ConfigError."""
        raise ConfigError(f"{message}. See {self.prog} --help.")


def parser() -> Parser:
    """The parser of the commands' own flags, besides --config=FILE and --config.GROUP.FIELD=VALUE."""
    top = Parser(prog="python -m seg_jax.data", description="Inspects, checks, shows, counts and rewrites data sets.")
    commands = top.add_subparsers(dest="command", required=True, metavar="inspect|lint|browse|stats|prepare")

    def command(name: str, what: str, config: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what, usage=f"python -m seg_jax.data {name} {config}")
        added.set_defaults(run=COMMANDS[name])
        return added

    config = "--config=FILE [--config.GROUP.FIELD=VALUE ...]"
    sub = command("inspect", "describes a data set", f"DIR | {config} [--out=FILE.py]")
    sub.add_argument("dir", nargs="?", type=Path, help="any directory: writes a configuration that trains on it")
    sub.add_argument("--out", type=Path, help="configuration to write (my_config.py); pictures go beside it")
    sub.add_argument("--images", default="", help="pattern of the photographs below DIR, where there are several kinds")
    sub.add_argument("--masks", default="", help="the same of the masks, such as '*/label.png'")
    sub = command("lint", "decodes every file and reports what is wrong", f"{config} [--splits=A,B] [--json=FILE]")
    sub.add_argument("--splits", help="splits to check (default: those of the configuration)")
    sub.add_argument("--json", type=Path, help="file to write the findings to as well")
    sub = command(
        "browse", "writes one HTML page of photographs under their masks", f"DIR | {config} [--out=FILE.html]"
    )
    sub.add_argument("dir", nargs="?", type=Path, help="any directory that `inspect` takes")
    sub.add_argument("--out", type=Path, help="page to write (NAME_browse.html)")
    sub.add_argument("--splits", help="splits to show (default: those of the configuration)")
    sub.add_argument("--augmented", action="store_true", help="also training crops, as the network sees them")
    sub = command(
        "stats", "counts pixels and prints class weights", f"{config} [--split=NAME] [--beta=B] [--json=FILE]"
    )
    sub.add_argument("--split", help="split to count (default: data.train_split)")
    sub.add_argument("--beta", type=float, help="beta of effective_number, in (0, 1) (default: from the pixel count)")
    sub.add_argument("--json", type=Path, help="file to write the figures to as well; the picture goes beside it")
    sub = command(
        "prepare", "writes a data set at data.size", f"DIR | {config} --to=FORMAT --out=DIR [--photos=png|original]"
    )
    sub.add_argument("dir", nargs="?", type=Path, help="any directory that `inspect` takes: writes a configuration too")
    sub.add_argument("--to", required=True, choices=formats.FORMATS, help=", ".join(formats.FORMATS))
    sub.add_argument("--out", required=True, type=Path, help="directory to write; run the same command to resume")
    sub.add_argument(
        "--photos",
        choices=(*formats.PHOTOS, formats.ORIGINAL),
        help="photographs as jpeg of quality 95 (default with --config), png, or original files (default with DIR)",
    )
    sub.add_argument("--splits", help="splits to write (default: those of the configuration)")
    sub.add_argument("--labels", choices=("predict",), help="label the photographs in DIR with a network")
    sub.add_argument("--model", help="with --labels=predict: a run directory, or a file of seg_jax.export")
    help_confidence = "with --labels=predict: ignore pixels of smaller probability (default: 0.9)"
    sub.add_argument("--min_confidence", type=float, help=help_confidence)
    return top


def named_by(arguments: Sequence[str]) -> Path:
    """The stem of files that are named by the configuration, in the working directory."""
    name = next((arg.split("=", 1)[1] for arg in arguments if arg.startswith("--config=")), "data").split(":")[0]
    return Path(Path(name).stem)


def run_inspect(options: argparse.Namespace, rest: list[str]) -> int:
    """`inspect`: proposes a configuration for a directory, then shows the data that the configuration reads.

    Returns 1 where a class of the table may be among what is ignored, or where labels are predictions.
    """
    out, proposal = options.out, None
    if not options.dir and not any(text.startswith(("--config", "-config")) for text in rest):
        raise ConfigError(
            "inspect needs the directory of a data set: python -m seg_jax.data inspect DIR. A configuration that there "
            "is already: --config=FILE."
        )
    if options.dir:
        if rest:
            raise ConfigError(f"unknown argument {rest[0]!r}: inspect takes a directory or a configuration, not both.")
        out = out or Path("my_config.py")
        proposal = propose.propose(options.dir.expanduser(), images=options.images, masks=options.masks)
        propose.write(proposal, out)
        print(proposal.summary)
        rest = [f"--config={out}"]
    config = configuration(rest)
    splits = splits_of(config)
    if (values := ranges.measure(splits)) and (proposal or values.fields):
        found = {name: value for name, value in values.fields.items() if not config.data[name.removeprefix("data.")]}
        if values.fields or len(values.counts) > 1:
            print(values.text())
        if found and proposal:
            proposal = replace(proposal, fields={**proposal.fields, **found})
            propose.write_configuration(proposal, out or Path("my_config.py"))
            config = configuration(rest)
            splits = splits_of(config)
        elif found:
            print("\n".join(f"  --config.{name}={value}".replace(" ", "") for name, value in found.items()))
    stem = out.with_suffix("") if out else named_by(rest)
    counts = inspect.measure(splits, threads=config.data.threads)
    print(inspect.text(counts, splits))
    faults = inspect.faults(counts, splits)
    print("".join(f"error: {fault}\n" for fault in faults), end="")
    if proposal:
        planned = plan.plan(plan.fingerprint(splits), plan.device())
        summary = f"{proposal.summary}\n\n{planned.text}"
        propose.write_configuration(
            replace(proposal, fields={**proposal.fields, **planned.fields}, summary=summary), out
        )
        print(f"\n{planned.text}\n")
    pictures = inspect.pictures(counts, splits)
    for kind, content in pictures.items():
        write_bytes(stem.with_name(f"{stem.name}_{kind}.png"), content)
    print("pictures: " + ", ".join(f"{stem}_{kind}.png" for kind in pictures))
    unfitting = unfit(proposal, sum(len(bad) for _, bad in counts.values())) if proposal else []
    if unfitting:
        print(f"error: {'; '.join(unfitting)}. Correct this before training; {out} is written.", file=sys.stderr)
    elif options.dir:
        file = shlex.quote(str(out))
        print(f"next\n  python -m seg_jax.data lint --config={file}")
        print(f"  python -m seg_jax.main --config={file} --workdir=runs/{shlex.quote(out.stem)}")
    return int(bool(faults or unfitting))


def run_lint(options: argparse.Namespace, rest: list[str]) -> int:
    """`lint`: reports what is wrong; returns 1 if there are findings."""
    config = configuration(rest)
    splits = splits_of(config, options.splits)
    findings = _findings(config, splits)
    print(lint.text(findings, splits))
    if options.json:
        write_bytes(options.json, lint.to_json(findings, splits).encode())
    return int(lint.failed(findings))


def _findings(config: Config, splits: Sequence[Examples]) -> list[lint.Finding]:
    """Those of `lint.lint`; where training takes crops, photographs may have different sizes."""
    findings = lint.lint(splits, threads=config.data.threads, data=config.data)
    return [finding for finding in findings if finding.kind != "sizes" or not all(config.augment.crop)]


def run_browse(options: argparse.Namespace, rest: list[str]) -> int:
    """`browse`: writes a page of photographs, masks and findings."""
    if not options.dir:
        return _browse(options, configuration(rest), named_by(rest))
    root = options.dir.expanduser()
    proposal = propose.propose(root)
    print(proposal.summary)
    with tempfile.TemporaryDirectory() as place, directory.proposed(proposal, Path(place) / "browse", rest) as config:
        return _browse(options, config, Path(root.resolve().name))


def _browse(options: argparse.Namespace, config: Config, name: Path) -> int:
    splits = splits_of(config, options.splits)
    shown: Sequence = ()
    if options.augmented:
        from seg_jax.curate.crops import crops  # and with it the training

        shown = crops(config)
    page = browse.page(name.name, splits, _findings(config, splits), threads=config.data.threads, crops=shown)
    out = options.out or name.with_name(f"{name.name}_browse.html")
    write_bytes(out, page.encode())
    print(f"{out}: {len(page) / 2**20:.1f} MiB; open it in a browser")
    return 0


def run_stats(options: argparse.Namespace, rest: list[str]) -> int:
    """`stats`: prints the counts of a split and the class weights of every scheme, and draws the classes' shares."""
    config = configuration(rest)
    if options.beta is not None and not 0 < options.beta < 1:
        raise ConfigError(f"--beta={options.beta}: beta must be in (0, 1). Use 0.999999.")
    (examples,) = splits_of(config, options.split or config.data.train_split)
    counted = stats.load(examples, config.data)
    print(stats.table(counted, split=examples.split, beta=options.beta))
    if options.json:
        write_bytes(options.json, stats.to_json(counted, beta=options.beta).encode())
    picture = options.json.with_suffix(".png") if options.json else Path(f"{named_by(rest)}_stats.png")
    shares = [n / sum(counted.pixels) for n in counted.pixels]
    write_bytes(picture, viz.distribution({examples.split: shares}, examples.table))
    print(f"picture: {picture}")
    return 0


def run_prepare(options: argparse.Namespace, rest: list[str]) -> int:
    """`prepare`: writes the splits in another format and prints how to read them."""
    if (options.model or options.min_confidence is not None) and not options.labels:
        raise ConfigError("--model and --min_confidence belong to --labels=predict. Add it, or leave them out.")
    if options.labels and not (options.dir and options.model):
        raise ConfigError(
            "--labels=predict labels the photographs in a directory with a trained network: python -m seg_jax.data "
            "prepare DIR --labels=predict --model=RUN --to=folder --out=OUT."
        )
    if options.dir:
        labeller = None
        if options.labels:
            confidence = 0.9 if options.min_confidence is None else options.min_confidence
            labeller = pseudo.Labeller.load(options.model, confidence)
        print(directory.prepare(options.dir, rest, **_request(options), labeller=labeller))
    else:
        print(directory.written(configuration(rest), **{**_request(options), "photos": options.photos or "jpeg"}))
        print(f"read it with {formats.FORMATS[options.to].flags.format(out=options.out)}")
    return 0


def _request(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("to", "out", "photos", "splits")}


COMMANDS = {"inspect": run_inspect, "lint": run_lint, "browse": run_browse, "stats": run_stats, "prepare": run_prepare}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 for errors and findings."""
    process.quiet()
    given = sys.argv[1:] if arguments is None else [*arguments]
    # Overrides apart: argparse takes one whose value has a space, such as (16, 24), for a directory.
    overrides = [text for text in given if text.startswith(("--config.", "-config.")) and "=" in text]
    try:
        options, rest = parser().parse_known_args([text for text in given if text not in overrides])
        return options.run(options, [*rest, *overrides])
    except SegJaxError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:  # a file cannot be written
        print(f"error: {error}.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
