"""Trained networks in the package: NAME.safetensors, the certificate of its export, and NAME.md, its card.

Everything that takes a trained network takes their names: `seg-jax predict street photo.jpg`,
`Predictor.load("street")`, `--config.model.weights=street`. A file or run directory of the same name is `./street`.
`python -m benchmarks.shipped` makes them.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Those that are there, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.safetensors")))


def find(name: str | Path) -> Path | None:
    """The file of a network in the package; None where `name` is something else. A `Path` is always a path."""
    return FOLDER / f"{name}.safetensors" if isinstance(name, str) and name in names() else None


def choices(kinds: str) -> str:
    """`kinds`, such as 'run directory or exported file', and the names; as messages and usage texts enumerate them."""
    return f"{kinds}, or one of: {', '.join(names())}" if names() else kinds


def summary(name: str) -> str:
    """The first line of a network's card, without its marks."""
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
