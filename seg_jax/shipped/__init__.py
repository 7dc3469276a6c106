"""Trained networks in the package: NAME.safetensors, the certificate of its export, and NAME.md, its card.

Everything that takes a trained network takes their names: `seg-jax predict street photo.jpg`,
`Predictor.load("street")`, `--config.model.weights=street`. A file or run directory of the same name is `./street`.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.safetensors")))


def find(name: str | Path) -> Path | None:
    """The file of a shipped network; None where `name` is another's. A `Path` is always a path."""
    return FOLDER / f"{name}.safetensors" if isinstance(name, str) and name in NAMES else None


def summary(name: str) -> str:
    """The first line of a network's card, without its marks."""
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
