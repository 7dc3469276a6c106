"""JSON of a known form: what fits, and where something does not."""

import pytest

from seg_jax.data.decoder import DataError
from seg_jax.runtime.documents import misfit, number, parse, size

FORM = {"name": str, "score": (number, None), "size?": size, "classes": [{"iou": number}], "more?": {str: int}}
WHOLE = {"name": "a", "score": None, "classes": [{"iou": 0.5, "unknown": ()}], "other": 1}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ""),
        ({"score": 1, "size": [1, 65_535], "classes": [], "more": {"a": 1}}, ""),
        ({"name": 1}, "name is 1, not text"),
        ({"name": None}, "name is null, not text"),
        ({"score": True}, "score is true, not a finite number or null"),
        ({"score": float("inf")}, "score is Infinity, not a finite number or null"),
        ({"size": [0, 1]}, "size is [0, 1], not [height, width], each from 1 to 65,535"),
        ({"size": [1, 2, 3]}, "size is [1, 2, 3], not [height, width], each from 1 to 65,535"),
        ({"size": [70_000, 1]}, "size is [70000, 1], not [height, width], each from 1 to 65,535"),
        ({"classes": {}}, "classes is {}, not a list"),
        ({"classes": [{"iou": 1}, {}]}, "classes[1] has no 'iou'"),
        ({"classes": [{"iou": "x" * 99}]}, f'classes[0].iou is "{"x" * 56}..., not a finite number'),
        ({"more": {"a": 1, "b": 1.0}}, "more.b is 1.0, not a whole number"),
        ({"more": []}, "more is [], not an object"),
    ],
)
def test_forms_by_hand(change, problem):
    assert misfit(WHOLE | change, FORM) == problem


def test_a_missing_part_and_another_whole():
    assert misfit({}, FORM) == "it has no 'name'"
    assert misfit([], FORM) == "it is [], not an object"


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe\xff", b"[" * 100_000, "nul", b'{"a": 1} more', "9" * 5000])
def test_what_is_no_json_is_named(text):
    with pytest.raises(DataError, match=r"^a/b\.json is not whole JSON \(.*\); restore it\.$"):
        parse(text, dict, name="a/b.json", error=DataError, cure="restore it")
    with pytest.raises(DataError, match=r"^a/b\.json: it is 1, not an object; restore it\.$"):
        parse("1", dict, name="a/b.json", error=DataError, cure="restore it")
    assert parse(b'{"a": 1}', {"a": int}, name="", error=DataError, cure="") == {"a": 1}
