"""Label tables: what stored values mean, what is refused, and class_names.json in its three forms."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_jax.data.labels import IGNORE, LabelError, LabelTable, palette
from seg_jax.data.labels.builtin import CAMVID

# Stored 7 and 300 are "sky", 2 is "road", 0 and 9 are ignored.
TABLE = LabelTable(
    names=("sky", "road"),
    colors=((70, 130, 180), (128, 64, 128)),
    values=((7, 300), (2,)),
    ignore=(0, 9),
)


@st.composite
def tables(draw):
    """Tables of 2..6 classes whose stored values lie anywhere in 0..65535."""
    k = draw(st.integers(2, 6))
    names = draw(st.lists(st.text(min_size=1), min_size=k, max_size=k, unique=True))
    colors = draw(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=k, max_size=k))
    near = st.one_of(st.integers(0, 12), st.integers(250, 258), st.integers(0, 65535))
    stored = draw(st.lists(near, min_size=k, max_size=k + 5, unique=True))
    # The first k values go to a class each, the others to any class or to ignore (k).
    owners = [*range(k), *(draw(st.integers(0, k)) for _ in stored[k:])]
    values = tuple(tuple(v for v, o in zip(stored, owners, strict=True) if o == i) for i in range(k + 1))
    return LabelTable(names=tuple(names), colors=tuple(colors), values=values[:k], ignore=values[k])


@st.composite
def color_tables(draw):
    """Tables of 2..6 classes with up to 5 colours more than classes, each with one meaning."""
    table = draw(tables())
    k = len(table)
    stored = draw(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=k, max_size=k + 5, unique=True))
    owners = [*range(k), *(draw(st.integers(0, k)) for _ in stored[k:])]
    meant = tuple(tuple(c for c, o in zip(stored, owners, strict=True) if o == i) for i in range(k + 1))
    return replace(table, colors=tuple(stored[:k]), color_values=meant[:k], ignore_colors=meant[k])


@st.composite
def groupings(draw, table):
    """Groups that hold each class of a table once, two of them or more besides 'ignore'."""
    order = draw(st.permutations(table.names))
    ignored = draw(st.integers(0, len(order) - 2))
    cuts = sorted(draw(st.sets(st.integers(1, len(order) - ignored - 1), min_size=1)))
    kept = order[ignored:]
    parts = [kept[a:b] for a, b in zip([0, *cuts], [*cuts, len(kept)], strict=True)]
    groups = {f"group {i}": part for i, part in enumerate(parts)}
    return groups | {"ignore": order[:ignored]} if ignored or draw(st.booleans()) else groups


# ----- encode, decode, colorize


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_encode(dtype):
    mask = np.array([[7, 300, 2], [0, 9, 2]], dtype)
    label = TABLE.encode(mask)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, [[0, 0, 1], [255, 255, 1]])


def test_encode_defaults():
    table = LabelTable(names=("a", "b", "c"))
    mask = np.array([[0, 1, 2, 255]], np.uint8)
    np.testing.assert_array_equal(table.encode(mask), [[0, 1, 2, 255]])


def test_unknown_values_are_named_with_their_pixel_counts():
    mask = np.array([[7, 7, 8], [3, 3, 3]], np.uint8)
    with pytest.raises(LabelError) as error:
        TABLE.encode(mask)
    message = str(error.value)
    assert "mask value 3 (3 pixels), 8 (1 pixels) is not in the label table" in message
    assert "which knows 0, 2, 7, 9, 300." in message
    assert "class_names.json" in message


def test_many_unknown_values_are_cut_short():
    with pytest.raises(LabelError, match=r"value 3 \(1 pixels\), .*, 10 \(1 pixels\) and 5 more is not") as error:
        LabelTable(names=("a", "b", "c")).encode(np.arange(16, dtype=np.uint8)[None])
    assert "11 (" not in str(error.value)
    assert "which knows 0-2, 255." in str(error.value)


@pytest.mark.parametrize(
    ("table", "expected", "dtype"),
    [
        (LabelTable(names=("a", "b")), [[0, 1, 255]], np.uint8),
        # The first of several stored values; 255 means nothing to this table, but 9 and 0 do.
        (TABLE, [[7, 2, 0]], np.uint8),
        (LabelTable(names=("a", "b"), values=((300, 1), (0,))), [[300, 0, 255]], np.uint16),
        (LabelTable(names=("a", "b"), ignore=(65535,)), [[0, 1, 65535]], np.uint16),
        (LabelTable(names=("a", "b"), values=((0,), (255,)), ignore=(7,)), [[0, 255, 7]], np.uint8),
        (CAMVID, [[0, 1, 255]], np.uint8),
        # Nothing is ignored: 255 stays as it is.
        (LabelTable(names=("a", "b"), ignore=()), [[0, 1, 255]], np.uint8),
    ],
)
def test_decode(table, expected, dtype):
    mask = table.decode(np.array([[0, 1, IGNORE]], np.uint8))
    assert mask.dtype == dtype
    np.testing.assert_array_equal(mask, expected)


@given(tables(), st.data())
def test_decoded_masks_encode_to_the_same_labels(table, data):
    ids = [*range(len(table)), *([IGNORE] if table.ignore else [])]
    label = np.array(data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=20)), np.uint8)[None]
    np.testing.assert_array_equal(table.encode(table.decode(label)), label)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@given(tables(), st.data())
def test_encode_is_the_table_read_value_by_value(dtype, table, data):
    most = np.iinfo(dtype).max
    known = {v: i for i, stored in enumerate(table.values) for v in stored} | dict.fromkeys(table.ignore, IGNORE)
    values = st.integers(0, most) | st.sampled_from([value for value in sorted(known) if value <= most] or [0])
    mask = data.draw(st.lists(values, min_size=1, max_size=20))
    array = np.array(mask, dtype)[None]
    unknown = sorted(set(mask) - set(known))
    if not unknown:
        np.testing.assert_array_equal(table.encode(array), [[known[v] for v in mask]])
        return
    with pytest.raises(LabelError) as error:
        table.encode(array)
    for value in unknown[:8]:
        assert f"{value} ({mask.count(value)} pixels)" in str(error.value)


def test_colorize():
    colours = TABLE.colorize(np.array([[0, 1, IGNORE]], np.uint8))
    assert colours.dtype == np.uint8
    np.testing.assert_array_equal(colours, [[[70, 130, 180], [128, 64, 128], [0, 0, 0]]])


@pytest.mark.parametrize("k", [2, 11, 19, 60])
def test_palette_is_fixed_and_distinct(k):
    colors = palette(k)
    assert len(set(colors)) == k
    assert all(0 <= c <= 255 for color in colors for c in color)
    assert (0, 0, 0) not in colors  # the colour of ignored pixels
    assert palette(60)[:k] == colors
    assert LabelTable(names=tuple(map(str, range(k)))).colors == colors


# ----- merging


FIVE = LabelTable(
    names=("car", "bus", "sky", "void", "tree"),
    colors=((1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4), (5, 5, 5)),
    values=((10,), (20, 21), (30,), (40,), (50,)),
    ignore=(0,),
)


def test_merge():
    table = FIVE.merge({"sky": ["sky"], "vehicle": ["bus", "car"], "ignore": ["void"], "nature": ("tree",)})
    assert table == LabelTable(
        names=("sky", "vehicle", "nature"),
        colors=((3, 3, 3), (2, 2, 2), (5, 5, 5)),
        values=((30,), (20, 21, 10), (50,)),
        ignore=(0, 40),
        color_values=(((3, 3, 3),), ((2, 2, 2), (1, 1, 1)), ((5, 5, 5),)),
        ignore_colors=((4, 4, 4),),
    )


def test_without():
    table = FIVE.without(("void", "sky"))
    assert table.names == ("car", "bus", "tree")
    assert table.ignore == (0, 40, 30)
    assert FIVE.without(()) == FIVE


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": ["car", "bus"], "b": ["sky", "tree"]}, "'void' is in 0 groups. Name each class once"),
        ({"a": FIVE.names, "b": ["sky"]}, "'sky' is in 2 groups"),
        ({"a": FIVE.names, "ignore": ["sky"]}, "'sky' is in 2 groups"),
        ({"a": ["car", "bus", "bus"], "b": ["sky", "tree", "void"]}, "'bus' is in 2 groups"),
        ({"a": FIVE.names, "b": ["Car"]}, "there is no class 'Car'; classes: car, bus, sky, void, tree."),
        ({"a": FIVE.names, "b": []}, "the group 'b' is empty"),
        ({"a": FIVE.names}, "1 classes: a label table has 2 to 65535"),
        ({}, "'car' is in 0 groups, 'bus' is in 0 groups"),
    ],
)
def test_groups_that_do_not_fit(groups, message):
    with pytest.raises(LabelError, match=re.escape(message)):
        FIVE.merge(groups)


@given(st.data(), color_tables())
def test_merging_masks_is_merging_labels(data, table):
    groups = data.draw(groupings(table))
    merged = table.merge(groups)
    assert merged.names == tuple(name for name in groups if name != "ignore")
    new = {
        name: merged.names.index(group) if group != "ignore" else IGNORE for group in groups for name in groups[group]
    }
    known = [v for stored in (*table.values, table.ignore) for v in stored]
    mask = np.array(known, np.uint16)[None]
    expected = [new[table.names[i]] if i != IGNORE else IGNORE for i in table.encode(mask)[0]]
    np.testing.assert_array_equal(merged.encode(mask), [expected])
    meanings = {color: new[table.names[i]] if i != IGNORE else IGNORE for i, color in table.color_meanings()}
    assert {color: i for i, color in merged.color_meanings()} == meanings


@given(st.data(), color_tables())
def test_groups_of_one_class_reorder_the_table(data, table):
    order = data.draw(st.permutations(range(len(table))))
    names = [table.names[i] for i in order]
    merged = table.merge({name: [name] for name in names})
    back = merged.merge({name: [name] for name in table.names})
    assert merged.names == tuple(names)
    assert back == table


# ----- what a table refuses


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": ("a",)}, "1 classes: a label table has 2 to 65535"),
        ({"names": tuple(map(str, range(65536)))}, "65536 classes: a label table has 2 to 65535"),
        ({"names": ("a", "b", "a", "b", "c")}, "class names repeat: a, b."),
        ({"names": ("a", "b"), "colors": ((0, 0, 0),)}, "1 colors for 2 classes; give one for each."),
        ({"names": ("a", "b"), "values": ((0,),)}, "1 values for 2 classes; give one for each."),
        ({"names": ("a", "b"), "values": ((0,), ())}, "class 'b' has no stored value"),
        ({"names": ("a", "b"), "colors": ((0, 0, 0), (0, 256, 0))}, "class 'b' has colour (0, 256, 0)"),
        ({"names": ("a", "b"), "colors": ((0, 0), (0, 0, 0))}, "class 'a' has colour (0, 0)"),
        ({"names": ("a", "b"), "values": ((0,), (-1,))}, "'b' has the stored value -1; values are in 0..65535"),
        ({"names": ("a", "b"), "ignore": (65536,)}, "'ignore' has the stored value 65536"),
        ({"names": ("a", "b"), "values": ((0, 5), (5,))}, "the stored value 5 means both 'a' and 'b'"),
        ({"names": ("a", "b"), "ignore": (1,)}, "the stored value 1 means both 'b' and 'ignore'"),
        ({"names": ("a", "b"), "values": ((3, 3), (1,))}, "the stored value 3 means both 'a' and 'a'"),
        ({"names": ("a", "b"), "color_values": (((0, 0, 0),),)}, "1 color_values for 2 classes; give one for each."),
        ({"names": ("a", "b"), "color_values": ((), ((0, -1, 0),))}, "class 'b' has colour (0, -1, 0)"),
        ({"names": ("a", "b"), "ignore_colors": ((0, 0, 256),)}, "class 'ignore' has colour (0, 0, 256)"),
    ],
)
def test_contradictory_tables_are_refused(fields, message):
    with pytest.raises(LabelError, match=re.escape(message)):
        LabelTable(**fields)


@pytest.mark.parametrize("k", [253, 254, 255])
def test_the_largest_tables(k):
    table = LabelTable(names=tuple(map(str, range(k))))
    mask = np.array([[*range(k), 255]], np.uint8)
    np.testing.assert_array_equal(table.encode(mask), mask)
    for unknown in range(k, 255):
        with pytest.raises(LabelError, match=rf"mask value {unknown} \(1 pixels\) is not"):
            table.encode(np.array([[0, unknown]], np.uint8))


def test_labels_are_arrays_of_their_own():
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2]  # not in one piece
    label = LabelTable(names=tuple(map(str, range(12)))).encode(mask)
    np.testing.assert_array_equal(label, mask)
    label[:] = 0
    assert mask.any()


# ----- class_names.json


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ('["sky", "road"]', LabelTable(names=("sky", "road"))),
        (
            '{"sky": [70, 130, 180], "road": [128, 64, 128]}',
            LabelTable(names=("sky", "road"), colors=((70, 130, 180), (128, 64, 128))),
        ),
        (
            '{"classes": [{"name": "sky", "color": [70, 130, 180], "values": [7, 300]}, '
            '{"name": "road", "color": [128, 64, 128], "values": [2]}], "ignore": [0, 9]}',
            TABLE,
        ),
        # Colour, values and ignore may be left out, one by one.
        ('{"classes": [{"name": "sky"}, {"name": "road"}]}', LabelTable(names=("sky", "road"))),
        (
            '{"classes": [{"name": "sky", "values": [4]}, {"name": "road", "color": [1, 2, 3]}], "ignore": []}',
            LabelTable(names=("sky", "road"), colors=(palette(2)[0], (1, 2, 3)), values=((4,), (1,)), ignore=()),
        ),
    ],
)
def test_three_forms_are_read(text, table):
    assert LabelTable.from_json(text) == table


def test_written_form():
    assert TABLE.to_json() == (
        "{\n"
        '  "classes": [\n'
        '    {"name": "sky", "color": [70, 130, 180], "values": [7, 300]},\n'
        '    {"name": "road", "color": [128, 64, 128], "values": [2]}\n'
        "  ],\n"
        '  "ignore": [0, 9]\n'
        "}\n"
    )


def test_colours_of_masks_are_written_where_they_are_not_those_of_the_classes():
    table = replace(TABLE, color_values=(((1, 2, 3), (4, 5, 6)), ((128, 64, 128),)), ignore_colors=((0, 0, 0),))
    assert table.to_json() == (
        "{\n"
        '  "classes": [\n'
        '    {"name": "sky", "color": [70, 130, 180], "values": [7, 300], "color_values": [[1, 2, 3], [4, 5, 6]]},\n'
        '    {"name": "road", "color": [128, 64, 128], "values": [2]}\n'
        "  ],\n"
        '  "ignore": [0, 9],\n'
        '  "ignore_colors": [[0, 0, 0]]\n'
        "}\n"
    )


@given(tables() | color_tables())
def test_json_round_trip(table):
    assert LabelTable.from_json(table.to_json()) == table


OBJECTS = LabelTable(("sky", "road"), ((70, 130, 180), (128, 64, 128)), ((0,), (7,)))
IDS = replace(OBJECTS, colors=palette(2), color_values=())
COLORED = replace(OBJECTS, values=())


@pytest.mark.parametrize(
    ("content", "table"),
    [
        ([{"name": "sky", "color": [70, 130, 180]}, {"name": "road", "color": [128, 64, 128]}], COLORED),
        ([{"label": "sky", "rgb": "70, 130, 180"}, {"label": "road", "rgb": "(128,64,128)"}], COLORED),
        ([{"title": "sky", "hex": "#4682B4"}, {"title": "road", "hex": "#804080"}], COLORED),
        ([{"title": "sky", "hex": "4682B4"}, {"title": "road", "color": "804080"}], COLORED),
        ([{"Name": "sky", "r": 70, "g": 130, "b": 180}, {"Name": "road", "r": 128, "g": 64, "b": 128}], COLORED),
        (
            [{"name": "sky", "id": 0, "color": "#4682b4ff"}, {"name": "road", "id": 7, "color": [128, 64, 128, 255]}],
            OBJECTS,
        ),
        ([{"name": "sky", "value": 0}, {"name": "road", "value": 7}], IDS),
        ([{"name": "sky", "index": 0}, {"name": "road", "index": "7"}], IDS),
        ([{"name": "sky", "label": 0}, {"name": "road", "label": 7}], IDS),
        ({"0": "sky", "7": "road"}, IDS),
        ({"7": "road", "0": "sky"}, IDS),  # in the order of the ids
        ({"sky": 0, "road": 7}, IDS),
        ({"sky": "#4682B4", "road": "#804080"}, COLORED),
        ({"#4682B4": "sky", "#804080": "road"}, COLORED),
        ({"70,130,180": "sky", "128,64,128": "road"}, COLORED),
        ({"(70, 130, 180)": "sky", "(128, 64, 128)": "road"}, COLORED),
        ({"0": [70, 130, 180], "7": [128, 64, 128]}, replace(OBJECTS, names=("class_0", "class_7"))),
        ({"#4682B4": 0, "#804080": 7}, replace(OBJECTS, names=("class_4682B4", "class_804080"))),
        ({"sky": {"id": 0, "color": [70, 130, 180]}, "road": {"id": 7, "color": [128, 64, 128]}}, OBJECTS),
        ({"0": {"name": "sky", "color": "#4682B4"}, "7": {"name": "road", "color": "#804080"}}, OBJECTS),
        ({"classes": ["sky", "road"]}, replace(IDS, values=())),
        (
            {"classes": [{"title": "sky", "color": "#4682B4"}, {"title": "road", "color": "#804080"}], "tags": []},
            COLORED,
        ),
        ({"labels": [{"name": "sky", "color": [70, 130, 180]}, {"name": "road", "color": [128, 64, 128]}]}, COLORED),
        ({"categories": [{"id": 0, "name": "sky"}, {"id": 7, "name": "road"}], "images": []}, IDS),
        ({"id2label": {"0": "sky", "7": "road"}, "label2id": {"sky": 0, "road": 7}, "hidden_size": 3}, IDS),
        ({"label2id": {"sky": 0, "road": 7}}, IDS),
        ({"names": {"0": "sky", "7": "road"}, "nc": 2}, IDS),
        ({"0": "sky", "7": "road", "255": "ignore"}, IDS),
        ({"0": "sky", "255": "lesion"}, LabelTable(("sky", "lesion"), values=((0,), (255,)), ignore=())),
        ({"classes": ["sky", "road"], "ignore_index": 9}, LabelTable(("sky", "road"), ignore=(9,))),
    ],
)
def test_forms_of_other_tools(content, table):
    assert LabelTable.from_json(json.dumps(content)) == table


@pytest.mark.parametrize(
    "text",
    [
        "names: [sky, no]",
        "names:\n  0: sky\n  1: no\nnc: 2",
        "- sky\n- no",
        "sky: [1, 2, 3]\nno: [4, 5, 6]",
        "0: sky\n1: no",
    ],
)
def test_yaml(tmp_path, text):
    (tmp_path / "data.yaml").write_text(text)
    table = LabelTable.load(tmp_path / "data.yaml")
    assert (table.names, table.values) == (("sky", "no"), ((0,), (1,)))  # 'no' is a name, not false


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [sky", r"it is not valid YAML (line 1"),
        ("sky: 1\nsky: 2", "'sky' is there twice"),
        ("? [a, b]\n: 3", "a key is itself a list or a mapping"),
        ("train: images/train\nval: images/val", "'train': \"images/train\" is not the name, the id or the colour"),
    ],
)
def test_yaml_of_another_form(tmp_path, text, message):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(LabelError, match=re.escape(message)) as error:
        LabelTable.load(tmp_path / "data.yaml")
    assert str(tmp_path / "data.yaml") in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([0, 1, 2], "entry 0, 0, is neither a name nor an object with a 'name'"),
        (["sky", None], "entry 1, null, is neither a name"),
        ([["sky", 1]], 'entry 0, ["sky", 1], is neither a name'),
        ([{"color": [1, 2, 3]}], "has no 'name' (or label, title)"),
        ([{"name": "sky", "color": [0.5, 0.1, 0.2]}], "entry 0: [0.5, 0.1, 0.2] is no colour"),
        ([{"name": "sky", "color": "blue"}], 'entry 0: "blue" is no colour, which is [r, g, b] in 0..255'),
        ([{"name": "sky", "id": "one"}], 'entry 0: "one" is no whole number'),
        ({"sky": 1, "road": [1, 2, 3]}, "'sky' is name -> id, but 'road' is name -> colour"),
        ({"0": "sky", "road": 1}, "'0' is id -> name, but 'road' is name -> id"),
        ({"sky": True, "road": False}, "'sky': true is not the name, the id or the colour of a class"),
        ({"classes": [{"name": "a"}, {"name": "b"}], "ignore": "x"}, "'ignore': \"x\" is no whole number"),
    ],
)
def test_other_forms_are_refused_by_form(content, message):
    with pytest.raises(LabelError, match=re.escape(message)) as error:
        LabelTable.from_json(json.dumps(content))
    assert "has an unknown form" in str(error.value)
    assert not re.search(r"Error|None|dict|<class|object at", str(error.value))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["classes", "name", "id", "0", "color", "#010203"]) | st.text(max_size=3),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    )
)
def test_any_document_is_read_or_refused(content):
    try:
        table = LabelTable.from_json(json.dumps(content))
    except LabelError:
        return
    assert all(isinstance(name, str) and name for name in table.names)


@pytest.mark.parametrize("content", [["sky", ""], {"sky": {}, "": {}}, {"sky": [0, 0, 0], "": [1, 1, 1]}])
def test_empty_names_are_refused(content):
    with pytest.raises(LabelError):
        LabelTable.from_json(json.dumps(content))


def test_documents_without_an_end():
    for text in ("[" * 100_000, '{"a":' * 100_000, f"[{'9' * 5000}]"):
        with pytest.raises(LabelError, match="is not valid JSON"):
            LabelTable.from_json(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ('["sky", "road"', "is not valid JSON"),
        ("5", "has an unknown form"),
        ("null", "has an unknown form"),
        ('"sky"', "has an unknown form"),
        ('{"sky": [1, 2], "road": [3, 4]}', "has an unknown form"),
        ('{"classes": 3}', "has an unknown form"),
        ('{"classes": [{"color": [0, 0, 0]}, {"name": "road"}]}', "has an unknown form"),
        ('{"classes": [{"name": "sky", "values": 3}, {"name": "road"}]}', "has an unknown form"),
        ('{"classes": [{"name": "a", "values": ["x"]}, {"name": "b"}]}', "has an unknown form"),
        ('["sky"]', "1 classes: a label table has 2 to 65535"),
        ("{}", "0 classes: a label table has 2 to 65535"),
        ('["sky", "sky"]', "class names repeat: sky"),
        ('{"sky": [1, 1, 1], "road": [2, 2, 2], "sky": [3, 3, 3]}', "'sky' is there twice"),
        ('{"classes": [{"name": "a"}, {"name": "b"}], "ignore": [1]}', "1 means both 'b' and 'ignore'"),
    ],
)
def test_unreadable_json(text, message):
    with pytest.raises(LabelError, match=re.escape(message)):
        LabelTable.from_json(text)


def test_load_names_the_file(tmp_path):
    path = tmp_path / "class_names.json"
    with pytest.raises(LabelError, match=re.escape(f"cannot read the label table {path}: No such file")):
        LabelTable.load(path)
    path.write_text("[", encoding="utf-8")
    with pytest.raises(LabelError, match=re.escape(f"{path}: class_names.json is not valid JSON")):
        LabelTable.load(path)
    path.write_bytes('["Straße", "Gehweg"]'.encode("latin-1"))
    with pytest.raises(LabelError, match=re.escape(f"{path}: ") + ".*UTF-8"):
        LabelTable.load(path)
    path.write_text(json.dumps(["Straße", "Gehweg"], ensure_ascii=False), encoding="utf-8")
    assert LabelTable.load(path).names == ("Straße", "Gehweg")
    path.write_text('["sky", "road"]', encoding="utf-8-sig")  # some editors put a byte order mark in front
    assert LabelTable.load(path).names == ("sky", "road")
