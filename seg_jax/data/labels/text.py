"""Reading `class_names.json`, the text form of a label table."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from seg_jax.data.labels.ids import IGNORE, Color, LabelError, palette

T = TypeVar("T")


def parse(text: str, build: Callable[..., T]) -> T:
    """Reads a label table; see `LabelTable.from_json` for the three forms.

    Args:
      text: the content of `class_names.json`.
      build: the constructor of the table, called with its fields as keywords.

    Raises:
      LabelError: the text is not JSON or has another form, or `build` rejects its values.
    """
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except (json.JSONDecodeError, RecursionError) as error:
        raise LabelError(f"class_names.json is not valid JSON: {error}") from error
    try:
        if isinstance(content, list):
            return build(names=tuple(str(name) for name in content))
        if "classes" not in content:
            return build(names=tuple(content), colors=tuple(_color(c) for c in content.values()))
        classes = content["classes"]
        defaults = palette(len(classes))
        colors = tuple(_color(c.get("color", defaults[i])) for i, c in enumerate(classes))
        return build(
            names=tuple(c["name"] for c in classes),
            colors=colors,
            values=tuple(tuple(int(v) for v in c.get("values", [i])) for i, c in enumerate(classes)),
            ignore=tuple(int(v) for v in content.get("ignore", [IGNORE])),
            color_values=tuple(
                tuple(_color(v) for v in c.get("color_values", [colors[i]])) for i, c in enumerate(classes)
            ),
            ignore_colors=tuple(_color(v) for v in content.get("ignore_colors", [])),
        )
    except LabelError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise LabelError(
            f"class_names.json has an unknown form ({type(error).__name__}: {error}). Write a list of names, "
            '{"name": [r, g, b], ...}, or {"classes": [{"name": ..., "color": ..., "values": [...]}], '
            '"ignore": [255]}.'
        ) from error


def read(path: Path, build: Callable[..., T]) -> T:
    """Reads the file of a label table; arguments and errors as for `parse`, with the path in the message."""
    try:
        return parse(path.read_text(encoding="utf-8-sig"), build)
    except OSError as error:
        raise LabelError(f"cannot read the label table {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: class_names.json is not UTF-8 text ({error.reason}).") from error
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; the decoder alone would keep the last of two equal names, which shifts all class ids."""
    content = dict(pairs)
    if len(content) < len(pairs):
        repeated = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise LabelError(f"class_names.json: {repeated!r} is there twice. Keep one of them.")
    return content


def _color(value: Sequence[int]) -> Color:
    red, green, blue = (int(c) for c in value)
    return red, green, blue
