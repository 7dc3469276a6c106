"""JSON from files: whole, and of the form that its reader counts on.

Whoever reads JSON that may have been cut off, edited or written by another program reads it here, so that no reader
meets a string where a number should be.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

# A form is what a value has to be: a type, `None`, a function that says so, [form of every item], {str: form of every
# value}, {"key": form, "key that may be absent?": form} with other keys allowed, or a tuple of forms to choose from.
Form = Any

_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


def number(value: Any) -> bool:
    """a finite number"""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # isfinite fails on whole ones above


def size(value: Any) -> bool:
    """[height, width], each from 1 to 65,535"""
    return isinstance(value, list) and len(value) == 2 and all(type(n) is int and 1 <= n <= 65_535 for n in value)


def parse(text: str | bytes, form: Form, *, name: object, error: Callable[[str], Exception], cure: str) -> Any:
    """The value of a JSON text.

    Args:
      text: in one of JSON's encodings.
      form: what it has to be.
      name: of the file, for messages.
      error: makes the exception that is raised.
      cure: what to do, for messages.

    Raises:
      `error`: the text is not whole JSON, or of another form; the message says where.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as reason:  # cut off, no text, or nested too deeply
        raise error(f"{name} is not whole JSON ({reason}); {cure}.") from reason
    if problem := misfit(value, form):
        raise error(f"{name}: {problem}; {cure}.")
    return value


def fitting(text: str | bytes, form: Form) -> Any:
    """The value of a JSON text; None for one that is not whole or of another form, where a reader does without."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return None if misfit(value, form) else value


def misfit(value: Any, form: Form, where: str = "it") -> str:
    """'' for a value of that form, else the first part that does not fit: 'scores.miou is "x", not a finite number'."""
    for one in form if isinstance(form, tuple) else (form,):
        if not (reason := _misfit(value, one, where)):
            return ""
    return reason if not isinstance(form, tuple) else _not(value, where, " or ".join(map(_words, form)))


def _misfit(value: Any, form: Form, where: str) -> str:
    if isinstance(form, list):
        if not isinstance(value, list):
            return _not(value, where, "a list")
        return next((why for i, item in enumerate(value) if (why := misfit(item, form[0], f"{where}[{i}]"))), "")
    if isinstance(form, dict):
        return _not(value, where, "an object") if not isinstance(value, dict) else _entries(value, form, where)
    if form is None:
        fits = value is None
    elif isinstance(form, type):
        fits = type(value) is form  # True is no whole number
    else:
        fits = form(value)
    return "" if fits else _not(value, where, _words(form))


def _entries(value: dict[str, Any], form: dict[Any, Form], where: str) -> str:
    for key, inner in form.items():
        if key is str:
            entries = list(value.items())
        elif key.removesuffix("?") in value:
            entries = [(key.removesuffix("?"), value[key.removesuffix("?")])]
        elif key.endswith("?"):
            entries = []
        else:
            return f"{where} has no {key!r}"
        for name, item in entries:
            if why := misfit(item, inner, f"{where}.{name}".removeprefix("it.")):
                return why
    return ""


def _words(form: Form) -> str:
    if isinstance(form, dict | list):
        form = type(form)
    return "null" if form is None else _WORDS.get(form) or str(form.__doc__)


def _not(value: Any, where: str, words: str) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return f"{where} is {text if len(text) <= 60 else text[:57] + '...'}, not {words}"
