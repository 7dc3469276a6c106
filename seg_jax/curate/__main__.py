"""The command line: python -m seg_jax.data inspect|lint|stats|prepare; each has --help."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from absl import flags

from seg_jax import data, process
from seg_jax.config import Config, ConfigError, check_names, checked
from seg_jax.config import flags as config_flags
from seg_jax.curate import formats, inspect, lint, prepare, propose
from seg_jax.data import stats
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelError
from seg_jax.data.prepared import MANIFEST
from seg_jax.files import write_bytes


class Parser(argparse.ArgumentParser):
    """Wrong use is one line and exit code 1, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Ends the program."""
        raise ConfigError(f"{message}. See {self.prog} --help.")


def parser() -> Parser:
    """What the commands take, besides --config=FILE and --config.GROUP.FIELD=VALUE."""
    top = Parser(prog="python -m seg_jax.data", description="Looks at data sets, checks them and writes them anew.")
    commands = top.add_subparsers(dest="command", required=True, metavar="inspect|lint|stats|prepare")

    def command(name: str, what: str, config: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what, usage=f"python -m seg_jax.data {name} {config}")
        added.set_defaults(run=COMMANDS[name])
        return added

    given = "--config=FILE [--config.GROUP.FIELD=VALUE ...]"
    one = command("inspect", "says what a data set is", f"DIR | {given} [--out=FILE.py]")
    one.add_argument("dir", nargs="?", type=Path, help="any directory: a config file is written that trains on it")
    one.add_argument("--out", type=Path, help="that file (my_config.py); pictures go beside it")
    one = command("lint", "decodes every file and reports what is wrong", f"{given} [--splits=A,B] [--json=FILE]")
    one.add_argument("--splits", help="the ones of the configuration, if not given")
    one.add_argument("--json", type=Path, help="also writes the findings there")
    one = command("stats", "counts pixels, and gives class weights", f"{given} [--split=NAME] [--beta=B] [--json=FILE]")
    one.add_argument("--split", help="data.train_split, if not given")
    one.add_argument("--beta", type=float, help="of effective_number, in (0, 1); by the number of pixels, if not given")
    one.add_argument("--json", type=Path, help="also writes the figures there")
    one = command("prepare", "writes a data set at data.size", f"{given} --to=FORMAT --out=DIR [--photos=png]")
    one.add_argument("--to", required=True, choices=formats.FORMATS, help=", ".join(formats.FORMATS))
    one.add_argument("--out", required=True, type=Path, help="the directory; the same command again goes on in it")
    one.add_argument("--photos", default="jpeg", choices=formats.PHOTOS, help="of photographs (jpeg: quality 95)")
    one.add_argument("--splits", help="the ones of the configuration, if not given")
    return top


def configuration(arguments: Sequence[str]) -> Config:
    """What --config=FILE and --config.GROUP.FIELD=VALUE say, as for `seg_jax.main`.

    Raises:
      ConfigError: no such file, field, or value.
    """
    values, line = flags.FlagValues(), ["seg_jax.data", *arguments]
    holder = config_flags.define(values, line)
    try:
        rest = config_flags.parse(values, line)[1:]
    except ConfigError as error:
        raise ConfigError(f"{error} See python -m seg_jax.data --help.") from error
    if rest:
        raise ConfigError(f"unknown argument {rest[0]!r}. Overrides are spelled --config.GROUP.FIELD=VALUE.")
    if holder.value is None:
        raise ConfigError("--config is missing. Try --config=configs/synthetic_unet.py.")
    config = checked(holder.value)
    check_names(config, group="data.")
    data.check(config.data)
    return config


def splits_of(config: Config, names: str | None = None) -> list[Examples]:
    """The named splits ('a,b'), or those that the configuration trains and evaluates on."""
    wanted = names.split(",") if names else (config.data.train_split, config.data.val_split)
    return [data.load(config, split.strip()) for split in dict.fromkeys(wanted)]


def run_inspect(options: argparse.Namespace, rest: list[str]) -> int:
    """`inspect`: proposes a configuration for a directory, then shows what the configuration gives."""
    out = options.out
    if options.dir:
        if rest:
            raise ConfigError(f"unknown argument {rest[0]!r}: inspect takes a directory or a configuration, not both.")
        out = out or Path("my_config.py")
        proposal = propose.propose(options.dir.expanduser())
        propose.write(proposal, out)
        print(proposal.summary)
        rest = [f"--config={out}"]
    config = configuration(rest)
    splits = splits_of(config)
    name = next((arg.split("=", 1)[1] for arg in rest if arg.startswith("--config=")), "data").split(":")[0]
    place = (out or Path(Path(name).stem)).with_suffix("")
    seen = inspect.look(splits, threads=config.data.threads)
    print(inspect.text(seen, splits))
    pictures = inspect.pictures(seen, splits)
    for kind, content in pictures.items():
        write_bytes(place.with_name(f"{place.name}_{kind}.png"), content)
    print("pictures: " + ", ".join(f"{place}_{kind}.png" for kind in pictures))
    if options.dir:
        file = shlex.quote(str(out))
        print(f"next\n  python -m seg_jax.data lint --config={file}")
        print(f"  python -m seg_jax.main --config={file} --workdir=runs/{shlex.quote(out.stem)}")
    return 0


def run_lint(options: argparse.Namespace, rest: list[str]) -> int:
    """`lint`: 1 if anything is wrong."""
    config = configuration(rest)
    splits = splits_of(config, options.splits)
    findings = lint.lint(splits, threads=config.data.threads)
    print(lint.text(findings, splits))
    if options.json:
        write_bytes(options.json, lint.to_json(findings, splits).encode())
    return int(lint.failed(findings))


def run_stats(options: argparse.Namespace, rest: list[str]) -> int:
    """`stats`."""
    config = configuration(rest)
    if options.beta is not None and not 0 < options.beta < 1:
        raise ConfigError(f"--beta={options.beta}: beta lies in (0, 1). Use 0.999999.")
    (examples,) = splits_of(config, options.split or config.data.train_split)
    counted = stats.load(examples, config.data)
    print(stats.table(counted, split=examples.split, beta=options.beta))
    if options.json:
        write_bytes(options.json, stats.to_json(counted, beta=options.beta).encode())
    return 0


def run_prepare(options: argparse.Namespace, rest: list[str]) -> int:
    """`prepare`."""
    config = configuration(rest)
    splits = splits_of(config, options.splits)
    manifest = prepare.prepare(splits, config, to=options.to, out=options.out, photos=options.photos)
    size = sum(file["bytes"] for file in manifest["files"].values())
    counts = ", ".join(f"{n} of {split}" for split, n in manifest["examples"].items())
    print(f"{options.out}: {counts}; {len(manifest['files'])} files, {size / 2**20:,.1f} MiB, {MANIFEST}")
    print(f"read it with {formats.FORMATS[options.to].flags.format(out=options.out)}")
    return 0


COMMANDS = {"inspect": run_inspect, "lint": run_lint, "stats": run_stats, "prepare": run_prepare}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 for wrong use and findings."""
    process.quiet()
    try:
        options, rest = parser().parse_known_args(arguments)
        return options.run(options, rest)
    except (ConfigError, DataError, LabelError) as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:  # what cannot be written
        print(f"error: {error}.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
