"""The messages in docs/troubleshooting.md are those of the program."""

import ast
import re

import pytest

from tests.runs import REPOSITORY

PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ROWS = [row for row in PAGE.splitlines() if row.startswith("| `")]
MESSAGES = [row.split("`")[1] for row in ROWS]


def literals(node):
    """The texts of a module; in f-strings every field is a line break."""
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value
        elif isinstance(child, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "\n" for part in child.values)


@pytest.fixture(scope="module")
def texts():
    modules = (path.read_text(encoding="utf-8") for path in (REPOSITORY / "seg_jax").rglob("*.py"))
    return [re.sub("%[ds]", "\n", text) for module in modules for text in literals(ast.parse(module))]


@pytest.mark.parametrize("message", MESSAGES)
def test_the_program_says_so(message, texts):
    pattern = re.compile(".*".join(map(re.escape, message.split("..."))), re.DOTALL)
    assert any(pattern.search(text) for text in texts)


def test_rows_are_message_cause_cure():
    assert len(MESSAGES) == len(set(MESSAGES)) > 20
    assert all(row.count(" | ") == 2 and row.endswith(" |") for row in ROWS)
