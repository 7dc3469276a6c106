"""Reading `class_names.json` and its relatives in YAML, the text forms of a label table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from seg_jax.data.labels import forms
from seg_jax.data.labels.ids import LabelError

T = TypeVar("T")

YAML = (".yaml", ".yml")


def parse(text: str, build: Callable[..., T], *, yaml: bool = False) -> T:
    """Reads a label table; see `forms.fields` for the forms.

    Args:
      text: the content of `class_names.json`.
      build: the constructor of the table, called with its fields as keywords.
      yaml: whether the text is YAML.

    Raises:
      LabelError: the text is not JSON or has another form, or `build` rejects its values.
    """
    return build(**forms.fields(parse_yaml(text) if yaml else _json(text)))


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise LabelError(f"class_names.json is not valid JSON ({place}). Correct it there.") from error
    except LabelError:
        raise
    except (RecursionError, ValueError) as error:  # nested a thousand deep, or a number of thousands of digits
        raise LabelError("class_names.json is not valid JSON for a label table. Write a list of names.") from error


def parse_yaml(text: str) -> Any:
    """YAML with everything as text, so that a class may be called 'no', which YAML takes for false.

    Raises:
      LabelError: it is no YAML, or a key is there twice.
    """
    import yaml

    class Loader(yaml.BaseLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
            del deep
            if not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
                forms.refuse("a key is itself a list or a mapping")
            return _without_repeats([(key.value, self.construct_object(value, deep=True)) for key, value in node.value])

    try:
        return yaml.load(text, Loader=Loader)  # a BaseLoader: it makes text, lists and mappings, no objects
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise LabelError(f"it is not valid YAML{place}. Correct it there.") from error


def read(path: Path, build: Callable[..., T]) -> T:
    """Reads the file of a label table; arguments and errors as for `parse`, with the path in the message."""
    try:
        return parse(path.read_text(encoding="utf-8-sig"), build, yaml=path.suffix.lower() in YAML)
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
