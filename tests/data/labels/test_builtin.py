"""Label tables from elsewhere: built in, label_colors.txt, class_dict.csv, and files that unite classes."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_jax.data.images import read_mask
from seg_jax.data.labels import IGNORE, LabelError, LabelTable
from seg_jax.data.labels.builtin import CAMVID, CAMVID32, TABLES, label_table, read_groups, table_of
from seg_jax.data.labels.masks import MaskReader

SKY_ROAD = LabelTable(names=("Sky", "Road"), colors=((128, 128, 128), (128, 64, 128)))

# ----- files

TEXTS = {
    "tabs": "128 128 128\tSky\n128 64 128\tRoad\n",
    "several tabs": "128 128 128\t\tSky\n128 64 128\t\tRoad\n",
    "spaces": "128 128 128 Sky\n128  64  128   Road\n",
    "aligned": "128 128 128 Sky\n128  64 128 Road",
    "no newline at the end": "128 128 128\tSky\n128 64 128\tRoad",
    "windows": "128 128 128\tSky\r\n128 64 128\tRoad\r\n",
    "blank lines, spaces at the end": "\n128 128 128\tSky  \n\n128 64 128\tRoad \n\n",
    "byte order mark": "\ufeff128 128 128\tSky\n128 64 128\tRoad\n",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_label_colors(tmp_path, kind):
    (tmp_path / "label_colors.txt").write_text(TEXTS[kind], encoding="utf-8", newline="")
    assert label_table(tmp_path, "") == SKY_ROAD


def test_names_of_several_words(tmp_path):
    (tmp_path / "label_colors.txt").write_text("0 0 0\ta lane, left\n1 2 3 the sky", encoding="utf-8")
    assert label_table(tmp_path, "").names == ("a lane, left", "the sky")


CSVS = {
    "plain": "name,r,g,b\nSky,128,128,128\nRoad,128,64,128\n",
    "spaces": "name, r, g, b\nSky, 128, 128, 128\nRoad, 128, 64, 128",
    "another order": "r,g,b,name\n128,128,128,Sky\n128,64,128,Road\n",
    "further columns": "name,r,g,b,class_11\nSky,128,128,128,1\nRoad,128,64,128,1\n",
    "capitals, quotes": 'Name,R,G,B\n"Sky",128,128,128\n"Road",128,64,128\n',
    "windows, blank lines": "name,r,g,b\r\nSky,128,128,128\r\n\r\nRoad,128,64,128\r\n,,,\r\n",
    "byte order mark": "\ufeffname,r,g,b\nSky,128,128,128\nRoad,128,64,128\n",
}


@pytest.mark.parametrize("kind", CSVS)
def test_class_dict(tmp_path, kind):
    (tmp_path / "class_dict.csv").write_text(CSVS[kind], encoding="utf-8", newline="")
    assert label_table(tmp_path, "") == SKY_ROAD


@pytest.mark.parametrize(
    ("name", "text", "table"),
    [
        ("classes.txt", "sky\nroad, wet\n\n", LabelTable(("sky", "road, wet"))),
        ("labels.txt", "0 sky\n7 road", LabelTable(("sky", "road"), values=((0,), (7,)))),
        ("labels.txt", "0: sky\r\n7: road\r\n", LabelTable(("sky", "road"), values=((0,), (7,)))),
        ("colors.txt", "1,2,3,sky\n4, 5, 6, road", LabelTable(("sky", "road"), ((1, 2, 3), (4, 5, 6)))),
        ("classes.txt", "# classes of site A\nsky\n// and below\nroad", LabelTable(("sky", "road"))),
        ("colors.txt", "# 2 classes\n1 2 3 sky\n4 5 6 road", LabelTable(("sky", "road"), ((1, 2, 3), (4, 5, 6)))),
        *[
            ("colors.txt", text, LabelTable(("a sky", "road"), ((1, 2, 3), (4, 5, 6)), ((0,), (7,))))
            for text in (
                "0 1 2 3 a sky\n7 4 5 6 road",
                "0\t1\t2\t3\ta sky\n7\t4\t5\t6\troad",
                "0, 1, 2, 3, a sky\n7, 4, 5, 6, road",
                "0\ta sky\t1\t2\t3\n7\troad\t4\t5\t6",
                "0 a sky 1 2 3\n7 road 4 5 6",
                "0,a sky,1,2,3\n7,road,4,5,6",
            )
        ],
        ("colors.txt", "7 sky 1 2 3\n0 road 4 5 6", LabelTable(("sky", "road"), ((1, 2, 3), (4, 5, 6)), ((7,), (0,)))),
        ("colors.txt", "1 2 3 sky\n4 5 6 7 seas", LabelTable(("sky", "7 seas"), ((1, 2, 3), (4, 5, 6)))),
        ("meta.json", '{"classes": ["sky", "road"], "palette": [[1, 2, 3], [4, 5, 6]]}',
         LabelTable(("sky", "road"), ((1, 2, 3), (4, 5, 6)))),
        ("meta.json", '{"CLASSES": ["sky", "road"], "PALETTE": [[1, 2, 3], [4, 5, 6]]}',
         LabelTable(("sky", "road"), ((1, 2, 3), (4, 5, 6)))),
        ("meta.yaml", "names: [sky, road]\ncolors: ['#010203', '#040506']",
         LabelTable(("sky", "road"), ((1, 2, 3), (4, 5, 6)))),
        ("meta.json", '{"classes": ["sky", "road"], "palette": null}', LabelTable(("sky", "road"))),
        ("a.csv", "id,name\n0,sky\n7,road", LabelTable(("sky", "road"), values=((0,), (7,)))),
        ("a.csv", "label;hex\nsky;#010203\nroad;#040506", LabelTable(("sky", "road"), ((1, 2, 3), (4, 5, 6)))),
        ("a.csv", 'class,rgb\nsky,"1, 2, 3"\nroad,"4, 5, 6"', LabelTable(("sky", "road"), ((1, 2, 3), (4, 5, 6)))),
        ("a.csv", "name,red,green,blue,id\nsky,1,2,3,0\nroad,4,5,6,7",
         LabelTable(("sky", "road"), ((1, 2, 3), (4, 5, 6)), ((0,), (7,)))),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nsky:1,2,3::\nroad:4,5,6:body:walk\n",
         LabelTable(("sky", "road"), ((1, 2, 3), (4, 5, 6)))),
        ("_classes.csv", "Pixel Value, Class\n0, sky\n2, road\n", LabelTable(("sky", "road"), values=((0,), (2,)))),
        ("objectInfo150.txt", "Idx\tRatio\tStuff\tName\n1\t0.2\t1\twall\n2\t0.1\t1\tbuilding, edifice\n",
         LabelTable(("wall", "building, edifice"), values=((1,), (2,)), ignore=(0, 255))),
        ("config.json", '{"labels": [{"name": "a--sky", "readable": "sky"}, {"name": "a--road", "readable": "road"}]}',
         LabelTable(("sky", "road"))),
        ("config.json", '{"labels": [{"name": "sky"}, {"name": "ego", "evaluate": false}, {"name": "road"}]}',
         LabelTable(("sky", "road"), values=((0,), (2,)), ignore=(1, 255))),
    ],
)  # fmt: skip
def test_other_text_files(tmp_path, name, text, table):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert label_table(None, str(tmp_path / name)) == table


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1).map(str.strip).filter(bool)
color = st.tuples(*[st.integers(0, 255)] * 3)


@given(st.dictionaries(names, color, min_size=2, max_size=6))
def test_written_colours_are_read_back(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("table")
    lines = [f"{r} {g} {b}\t{name}" for name, (r, g, b) in content.items()]
    (root / "label_colors.txt").write_text("\n".join(lines), encoding="utf-8", newline="")
    table = label_table(root, "")
    assert dict(zip(table.names, table.colors, strict=True)) == content


def test_the_first_file_counts(tmp_path):
    (tmp_path / "label_colors.txt").write_text("1 1 1 a\n2 2 2 b")
    assert label_table(tmp_path, "").names == ("a", "b")
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nc,1,1,1\nd,2,2,2")
    assert label_table(tmp_path, "").names == ("c", "d")
    (tmp_path / "class_names.json").write_text('["e", "f"]')
    assert label_table(tmp_path, "").names == ("e", "f")
    assert label_table(tmp_path, str(tmp_path / "class_dict.csv")).names == ("c", "d")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("label_colors.txt", "128 128 128\tSky\n128 64\tRoad", "line 2: '128 64\\tRoad' is not 'red green blue name'"),
        ("label_colors.txt", "1 2 3 4\n5 6 7", "line 2: '5 6 7' is not"),
        ("label_colors.txt", "Sky 1 2 3\nRoad 4 5 6", "line 1: 'Sky 1 2 3' is not"),
        ("label_colors.txt", "-1 2 3 a\n4 5 6 b", "line 1: '-1 2 3 a' is not"),
        ("label_colors.txt", "1 2 300 a\n4 5 6 b", "class 'a' has colour (1, 2, 300)"),
        ("label_colors.txt", "1 2 3 a\n4 5 6 a", "class names repeat: a"),
        ("label_colors.txt", "", "0 classes: a label table has 2 to 65535"),
        ("label_colors.txt", "# a\n\n1 2 3 a\n4 5 b", "line 4: '4 5 b' is not 'red green blue name'"),
        ("label_colors.txt", "0\troad\tflat\n1\tcar\tvehicle", "line 1: '0\\troad\\tflat' is not"),
        ("label_colors.txt", "road\tflat\ncar\tvehicle", "line 1: 'road\\tflat' is not"),
        ("label_colors.txt", "0 road 1 2 3\n1 car", "line 1: '0 road 1 2 3' is not"),
        ("label_colors.txt", "9 1 2 1 a\n4 5 6 2 b", "'4 5 6 2 b' after '9 1 2 1 a': the first of four numbers is the"),
        ("class_names.json", '{"classes": ["a", "b"], "palette": [[1, 2, 3]]}', "1 colours in 'palette' for 2 classes"),
        ("class_dict.csv", "", "the first line has no column name, r, g, b; it is 'name,r,g,b'"),
        ("class_dict.csv", "Sky,1,2,3\nRoad,4,5,6", "the first line has no column name, r, g, b"),
        ("class_dict.csv", "name,r,g\nSky,1,2", "the first line has no column b"),
        ("class_dict.csv", "name,r,g,b\nSky,1,2,3\nRoad,4,5", "line 3: 'Road,4,5' has no three numbers r, g and b"),
        ("class_dict.csv", "name,r,g,b\nSky,1,x,3", "line 2: 'Sky,1,x,3' has no three numbers"),
        ("class_dict.csv", "name,r,g,b\nSky,1,2,3\nSky,1,2,3", "class names repeat: Sky"),
        (
            "label_colors.txt",
            "# label:color_rgb:parts:actions\nsky:1,2,3::\nroad 4 5 6",
            "line 3: 'road 4 5 6' is not 'name:",
        ),
        (
            "label_colors.txt",
            "Idx\tRatio\tName\n1\t0.1\twall\nx\t0\troad",
            "line 3: 'x\\t0\\troad' does not begin with a number",
        ),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LabelError, match=re.escape(f"{path}: {message}")):
        label_table(tmp_path, "")


def test_files_in_another_encoding_are_named(tmp_path):
    path = tmp_path / "label_colors.txt"
    path.write_bytes("1 2 3 Straße\n4 5 6 b".encode("latin-1"))
    with pytest.raises(LabelError, match=re.escape(f"{path} is not UTF-8 text")):
        label_table(tmp_path, "")


def test_a_file_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "names.json").write_text('["sky", "road"]')
    assert label_table(None, "~/names.json").names == ("sky", "road")


# ----- classes from Python


@pytest.mark.parametrize(
    "classes", [2, np.int64(2), np.uint8(2), ["class 0", "class 1"], np.array(["class 0", "class 1"])]
)
def test_a_number_or_names_give_a_table(classes):
    assert table_of(classes).names == ("class 0", "class 1")


@pytest.mark.parametrize("classes", ["tumor", b"tumor", 3.0, None, {"a", "b"}, {"a": 0, "b": 1}])
def test_anything_else_gives_none(classes):
    with pytest.raises(LabelError, match=re.escape(f"classes = {classes!r} is neither a whole number nor a list")):
        table_of(classes)


# ----- groups


def test_groups(tmp_path):
    path = tmp_path / "groups.json"
    path.write_text('{"vehicle": ["car", "bus"], "ignore": ["void"]}', encoding="utf-8-sig")
    assert read_groups(path) == {"vehicle": ["car", "bus"], "ignore": ["void"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the groups of classes"),
        ("{", "is not valid JSON"),
        (b"\xff", "is not valid JSON"),
        ('["car"]', "has an unknown form"),
        ('{"vehicle": "car"}', "has an unknown form"),
        ('{"vehicle": [1]}', "has an unknown form"),
    ],
)
def test_unreadable_groups(tmp_path, text, message):
    path = tmp_path / "groups.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LabelError, match=re.escape(message)) as error:
        read_groups(path)
    assert str(path) in str(error.value)


# ----- CamVid


def test_camvid():
    assert TABLES["camvid"] is CAMVID
    assert CAMVID.names == (
        *("sky", "building", "pole", "road", "pavement", "tree"),
        *("sign symbol", "fence", "car", "pedestrian", "bicyclist"),
    )
    mask = np.array([[*range(12), 255]], np.uint8)
    np.testing.assert_array_equal(CAMVID.encode(mask), [[*range(11), 255, 255]])
    with pytest.raises(LabelError, match=r"mask value 12 \(1 pixels\) .* knows 0-11, 255"):
        CAMVID.encode(np.array([[12]], np.uint8))


def test_camvid32_is_united_into_the_classes_of_camvid():
    merged = TABLES["camvid32_to_11"]
    assert merged.names == CAMVID.names
    assert sum(map(len, merged.color_values)) + len(merged.ignore_colors) == len(CAMVID32) == 32
    assert len(set(CAMVID32.colors)) == 32
    # A class that was one already keeps its colour.
    for name in ("sky", "fence", "car", "road", "tree"):
        assert merged.colors[merged.names.index(name)] == CAMVID.colors[CAMVID.names.index(name)]


def test_camvid32_is_the_published_file(real_data):
    assert label_table(real_data / "camvid32", "") == CAMVID32


def test_merged_masks_are_those_of_the_11_classes(real_data):
    # The small masks have every second pixel of the large ones, with borders drawn anew.
    reader = MaskReader(TABLES["camvid32_to_11"])
    agreement, labelled = [], []
    for path in sorted((real_data / "camvid32" / "LabeledApproved_full").iterdir()):
        large = reader.read(path)
        small = CAMVID.encode(read_mask(real_data / "camvid" / "valannot" / path.name.replace("_L", "")))
        same = large[1::2, 1::2] == small
        agreement.append(same.mean())
        labelled.append(same[(large[1::2, 1::2] != IGNORE) & (small != IGNORE)].mean())
    assert len(agreement) == 7
    assert np.mean(agreement) > 0.989  # measured: 0.9896, ignored pixels included
    assert min(labelled) > 0.99  # measured: 0.9907 to 0.9969
