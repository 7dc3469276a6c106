"""What a reader of annotations gives: photographs with their objects, classes with their colours, and splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from seg_jax.config import Size
from seg_jax.data.examples import Bad
from seg_jax.data.label_tools.raster import Patch
from seg_jax.data.labels import Color

BACKGROUND = "background"
IGNORED = "ignore"  # the name of objects whose pixels do not count


class Thing(NamedTuple):
    """An annotated object.

    Attributes:
      name: its class.
      draw: (height, width) of the photograph -> its pixels; raises DataError with the rule and the cure.
      where: its place in the file, for messages.
    """

    name: str
    draw: Callable[[Size], Patch]
    where: str


class Scene(NamedTuple):
    """A photograph with its objects, later ones over earlier ones.

    Attributes:
      photo: the photograph.
      file: the file of its annotations.
      size: (height, width) that they were drawn at; None where they do not say.
      things: the objects.
      fault: why the annotations cannot be read; '' if they can.
    """

    photo: Path
    file: Path
    size: Size | None = None
    things: Sequence[Thing] = ()
    fault: str = ""


@dataclass(frozen=True)
class Annotations:
    """The annotations of a data set.

    Attributes:
      names: the classes besides the background, in the order of the table; with those that do not occur.
      scenes: split -> its photographs; '' where nothing tells splits apart.
      bad: split -> annotations without a photograph, and entries that cannot be read.
      colors: those of some classes.
      files: the documents that were read.
    """

    names: tuple[str, ...]
    scenes: Mapping[str, Sequence[Scene]]
    bad: Mapping[str, Sequence[Bad]] = field(default_factory=dict)
    colors: Mapping[str, Color] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


def named(scenes: Mapping[str, Sequence[Scene]]) -> tuple[str, ...]:
    """The classes of all objects in alphabetical order, where no document lists them."""
    return tuple(sorted({thing.name for part in scenes.values() for scene in part for thing in scene.things}))


def hex_color(text: str) -> Color | None:
    """The colour of '#rrggbb'; None for other texts."""
    try:
        red, green, blue = bytes.fromhex(text.removeprefix("#"))
    except ValueError:
        return None
    return red, green, blue
