"""The source `annotated`: a small data set for each layout with its pixels by hand, and one line for bad input."""

import base64
import io
import json
import re
import runpy
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_jax import data
from seg_jax.config import ConfigError, default
from seg_jax.curate import propose
from seg_jax.curate.__main__ import configuration
from seg_jax.data.images import DataError
from seg_jax.data.label_tools import LAYOUTS, raster
from seg_jax.data.label_tools import labelstudio as labelstudio_reader
from seg_jax.data.labels import IGNORE, LabelError
from seg_jax.data.orientation import OrientationError, turned

H, W = 12, 16
ROAD = (0, 6, 16, 12)  # x0, y0, x1, y1
TREE = (4, 2, 10, 9)  # over the road
HOLE = (6, 4, 8, 7)
# How ml_collections loads a configuration file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "layouts.py"


def box(x0, y0, x1, y1):
    mask = np.zeros((H, W), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def corners(x0, y0, x1, y1):
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def truth(*, hole=False):
    """0 background, 1 road, 2 tree, drawn by hand."""
    label = np.zeros((H, W), np.uint8)
    label[box(*ROAD)] = 1
    label[box(*TREE) & ~(box(*HOLE) & hole)] = 2
    return label


def put(root, *names):
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (H, W, 3), np.uint8)).save(root / name)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def png(mask):
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()


def flat(*args):
    return [number for point in corners(*args) for number in point]


def column_runs(mask):
    values = [0, *mask.T.ravel().astype(int).tolist(), -1]
    changes = [i for i in range(1, len(values)) if values[i] != values[i - 1]]
    return np.diff([1, *changes]).tolist()


def coco(root):
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [flat(*ROAD)], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 5, "segmentation": {"counts": column_runs(box(*TREE)), "size": [H, W]}},
    ]
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": H, "width": W}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "road"}, {"id": 5, "name": "tree"}],
    }
    put(root, "images/a.png")
    write(root / "annotations/instances.json", content)
    return content


def labelme(root):
    top, left = TREE[1], TREE[0]
    part = box(*TREE)[top : TREE[3], left : TREE[2]]
    shapes = [
        {"label": "road", "shape_type": "polygon", "points": corners(*ROAD)},
        {"label": "tree", "shape_type": "mask", "points": [[left, top], [TREE[2] - 1, TREE[3] - 1]],
         "mask": base64.b64encode(png(part)).decode()},
    ]  # fmt: skip
    content = {"version": "5.5.0", "shapes": shapes, "imagePath": "a.png", "imageHeight": H, "imageWidth": W}
    put(root, "a.png")
    write(root / "a.json", content)
    return content


def cvat(root):
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners(*ROAD))
    part = box(*TREE)[TREE[1] : TREE[3], TREE[0] : TREE[2]]
    label = "<label><name>{}</name><color>#0102{}</color></label>"
    content = (
        "<annotations><version>1.1</version><meta><job><labels>"
        f"{label.format('road', '03')}{label.format('tree', '04')}</labels></job></meta>"
        f'<image id="0" name="a.png" width="{W}" height="{H}">'
        f'<mask label="tree" rle="0, {part.size}" left="{TREE[0]}" top="{TREE[1]}" width="{part.shape[1]}" '
        f'height="{part.shape[0]}" z_order="2"></mask>'
        f'<polygon label="road" points="{points}" z_order="1"></polygon></image></annotations>'
    )
    put(root, "images/a.png")
    write(root / "annotations.xml", content)
    return content


def yolo(root):
    def line(kind, area):
        return f"{kind} " + " ".join(f"{x / W} {y / H}" for x, y in corners(*area))

    put(root, "images/train/a.png", "images/val/b.png")
    for name in ("train/a", "val/b"):
        write(root / f"labels/{name}.txt", f"{line(0, ROAD)}\n{line(1, TREE)}\n")
    write(root / "data.yaml", "train: ../images/train\nval: images/val\nnc: 2\nnames: {0: road, 1: tree}\n")


def labelstudio(root):
    def region(area, **more):
        points = [[100 * x / W, 100 * y / H] for x, y in corners(*area)]
        value = {"points": points, "polygonlabels": [more["name"]]}
        return {"type": "polygonlabels", "original_width": W, "original_height": H, "image_rotation": 0, "value": value}

    result = [region(ROAD, name="road"), region(TREE, name="tree"), {"type": "choices", "value": {"choices": ["x"]}}]
    content = [
        {"id": 4, "data": {"image": "/data/upload/1/0a1b2c3d-a.png"}, "annotations": [{"result": result}]},
        {"id": 5, "data": {"image": "/data/upload/1/0a1b2c3d-b.png"}, "annotations": []},  # to be done
    ]
    put(root, "images/a.png")
    write(root / "project.json", content)
    return content


def supervisely(root):
    bitmap = base64.b64encode(zlib.compress(png(box(*TREE)[TREE[1] : TREE[3], TREE[0] : TREE[2]]))).decode()
    objects = [
        {"classTitle": "road", "geometryType": "polygon", "points": {"exterior": corners(*ROAD), "interior": []}},
        {"classTitle": "tree", "geometryType": "bitmap", "bitmap": {"data": bitmap, "origin": [TREE[0], TREE[1]]}},
    ]
    content = {"size": {"height": H, "width": W}, "objects": objects}
    put(root, "ds0/img/a.png")
    write(root / "ds0/ann/a.png.json", content)
    write(root / "meta.json", {"classes": [{"title": "road", "shape": "any", "color": "#010203"},
                                           {"title": "tree", "shape": "any", "color": "#010204"}]})  # fmt: skip
    return content


def tags(root):
    put(root, "images/photo_4.png")
    for name, area in (("road", ROAD), ("tree", TREE)):
        path = root / f"masks/task-4-annotation-1-by-1-tag-{name}-{name == 'tree':d}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(box(*area)))


def layers(root, place="masks/{name}_{word}.png"):
    put(root, "images/a.png", "images/b_1.png", "images/c.png")
    for name in ("a", "b_1", "c"):
        for word, area in (("road", box(*ROAD) & ~box(*TREE)), ("tree", box(*TREE))):
            path = root / place.format(name=name, word=word)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(area))


BUILDERS = {f.__name__: f for f in (coco, labelme, cvat, yolo, labelstudio, supervisely, tags, layers)}


def load(root, split="train", **fields):
    config = default.get_config()
    config.data.source, config.data.dir = "annotated", str(root)
    for name, value in fields.items():
        config.data[name] = value
    return data.load(config, split)


def only(root, **fields):
    """The label of the only example."""
    examples = load(root, **fields)
    assert not examples.bad
    return examples.read(0)[1]


def test_every_layout_has_a_test():
    assert set(BUILDERS) == set(LAYOUTS)


@pytest.mark.parametrize("layout", BUILDERS)
def test_each_layout_gives_its_pixels(tmp_path, layout):
    BUILDERS[layout](tmp_path)
    examples = load(tmp_path)
    assert examples.table.names == ("background", "road", "tree") and not examples.bad
    image, label = examples.read(0)
    assert image.shape == (H, W, 3)
    np.testing.assert_array_equal(label, truth())
    if layout in ("cvat", "supervisely"):
        assert examples.table.colors == ((0, 0, 0), (1, 2, 3), (1, 2, 4))


@pytest.mark.parametrize("layout", BUILDERS)
def test_a_table_decides_ids_and_what_is_outside(tmp_path, layout):
    BUILDERS[layout](tmp_path)
    write(tmp_path / "class_names.json", ["tree", "road"])
    np.testing.assert_array_equal(only(tmp_path), np.array([IGNORE, 1, 0], np.uint8)[truth()])
    write(tmp_path / "class_names.json", ["background", "road"])
    with pytest.raises(DataError, match=r"\(tree\).*is of a class that the label table has not: background, road; add"):
        load(tmp_path).read(0)


# ----- what single layouts have


def turn(root, tag, *, stored):
    """Gives the photograph EXIF's orientation; as stored it has the size that it is annotated at, or as turned."""
    (photo,) = (path for path in root.rglob("*.png") if path.stem in ("a", "photo_4"))
    exif = Image.Exif()
    exif[0x0112] = tag
    size = (H, W) if stored else turned(np.zeros((H, W)), tag).shape
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(photo, exif=exif)
    return photo


@pytest.mark.parametrize("tag", [6, 7])
@pytest.mark.parametrize("layout", sorted(set(BUILDERS) - {"yolo"}))
def test_objects_are_turned_as_their_photograph(tmp_path, layout, tag):
    """The size that the annotations state says whether objects were drawn on the stored or on the turned pixels."""
    BUILDERS[layout](tmp_path)
    turn(tmp_path, tag, stored=False)
    np.testing.assert_array_equal(only(tmp_path), truth())
    turn(tmp_path, tag, stored=True)
    np.testing.assert_array_equal(only(tmp_path), turned(truth(), tag))
    np.testing.assert_array_equal(only(tmp_path, exif="ignore"), truth())
    photo = turn(tmp_path, 3, stored=True)
    with pytest.raises(OrientationError, match=rf"{photo.name} is turned by EXIF \(orientation 3\).*turn_both"):
        only(tmp_path)
    np.testing.assert_array_equal(only(tmp_path, exif="turn_image"), truth())
    np.testing.assert_array_equal(only(tmp_path, exif="turn_both"), turned(truth(), 3))


@pytest.mark.parametrize("layout", sorted(BUILDERS))
def test_a_directory_is_read_by_a_relative_path_and_through_a_link(tmp_path, monkeypatch, layout):
    BUILDERS[layout](tmp_path / "data")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    for name in ("data", "link"):
        np.testing.assert_array_equal(only(Path(name)), truth())


def test_shares_of_a_photograph_do_not_say_how_it_is_turned(tmp_path):
    yolo(tmp_path)
    turn(tmp_path, 6, stored=True)
    with pytest.raises(OrientationError, match=r"\(orientation 6\).*train.a.txt has no orientation of its own"):
        only(tmp_path)
    np.testing.assert_array_equal(only(tmp_path, exif="turn_both"), turned(truth(), 6))
    assert only(tmp_path, exif="turn_image").shape == (W, H)
    (tmp_path / "labels/train/a.txt").write_text("")  # without objects there is nothing to be turned
    np.testing.assert_array_equal(only(tmp_path), np.zeros((W, H), np.uint8))


def test_coco_crowds_are_ignored_but_for_single_objects(tmp_path):
    content = coco(tmp_path)
    crowd = {"counts": column_runs(box(0, 0, 16, 4)), "size": [H, W]}
    content["annotations"].append({"image_id": 7, "category_id": 5, "segmentation": crowd, "iscrowd": 1})
    write(tmp_path / "annotations/instances.json", content)
    expected = truth()
    expected[box(0, 0, 16, 4) & (expected == 0)] = IGNORE
    np.testing.assert_array_equal(only(tmp_path), expected)


def test_coco_has_a_document_for_each_split(tmp_path):
    content = coco(tmp_path / "x")
    put(tmp_path, "root/train2017/a.png", "root/val2017/a.png")
    for split in ("train", "val"):
        write(tmp_path / f"root/annotations/instances_{split}2017.json", content)
        write(tmp_path / f"root/annotations/person_keypoints_{split}2017.json", content)
    for split in ("train", "val"):
        examples = load(tmp_path / "root", split)
        assert examples.names == (f"{split}2017/a.png",)
        np.testing.assert_array_equal(examples.read(0)[1], truth())


def test_coco_of_roboflow_has_its_documents_beside_the_photographs(tmp_path):
    content = coco(tmp_path / "x")
    content["categories"].insert(0, {"id": 0, "name": "road", "supercategory": "none"})  # the project's name, often
    for split in ("train", "valid", "test"):
        put(tmp_path, f"root/{split}/a.png")
        write(tmp_path / f"root/{split}/_annotations.coco.json", content)
    for split in ("train", "valid", "test"):
        examples = load(tmp_path / "root", split, val_split="valid")
        assert examples.names == (f"{split}/a.png",) and not examples.bad
        np.testing.assert_array_equal(examples.read(0)[1], truth())


def test_paths_of_another_directory_and_machine(tmp_path):
    content = labelme(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "photos/a.png")
    (tmp_path / "a.json").unlink()
    for path in ("..\\photos\\a.png", "C:\\me\\a.png"):
        write(tmp_path / "json/a.json", content | {"imagePath": path})
        np.testing.assert_array_equal(only(tmp_path), truth())
        assert load(tmp_path).names == ("photos/a.png",)


def test_photographs_without_an_object_are_background(tmp_path):
    content = coco(tmp_path)
    content["images"].append({"id": 8, "file_name": "b.png"})
    write(tmp_path / "annotations/instances.json", content)
    put(tmp_path, "images/b.png")
    assert not load(tmp_path).read(1)[1].any()


def test_supervisely_has_holes(tmp_path):
    content = supervisely(tmp_path)
    points = {"exterior": corners(*TREE), "interior": [corners(*HOLE)]}
    content["objects"][1] = {"classTitle": "tree", "geometryType": "polygon", "points": points}
    write(tmp_path / "ds0/ann/a.png.json", content)
    np.testing.assert_array_equal(only(tmp_path), truth(hole=True))


@pytest.mark.parametrize("place", ["masks/{word}/{name}.png", "images/{name}_{word}.png", "{word}/{name}.png"])
def test_binary_masks_of_classes_are_united_wherever_they_are(tmp_path, place):
    layers(tmp_path, place)
    next(tmp_path.glob(place.format(name="b_1", word="tree"))).unlink()  # shows none
    examples = load(tmp_path)
    assert examples.table.names == ("background", "road", "tree") and not examples.bad
    assert examples.names == ("images/a.png", "images/b_1.png", "images/c.png")
    np.testing.assert_array_equal(examples.read(0)[1], truth())
    np.testing.assert_array_equal(examples.read(1)[1], truth() % 2)
    proposal = propose.propose(tmp_path)
    assert proposal.fields["data.source"] == "annotated" and proposal.table.names == examples.table.names
    assert "binary masks of one class each (3)" in proposal.summary


def test_splits_of_binary_masks_are_those_of_the_photographs(tmp_path):
    for split, name in (("train", "a"), ("train", "c"), ("val", "b")):
        put(tmp_path, f"{split}/images/{name}.png")
        for word, area in (("road", box(*ROAD)), ("sky", box(0, 0, 16, 3))):
            path = tmp_path / f"{split}/masks/{name}_{word}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(area))
    assert load(tmp_path).names == ("train/images/a.png", "train/images/c.png")
    assert load(tmp_path, "val").names == ("val/images/b.png",)


@pytest.mark.parametrize(
    ("words", "second", "message"),
    [
        (("road", "tree"), ROAD, r"each example has \d files that may be its mask"),  # two annotators of one thing
        (("manual_ann", "manual_bob"), TREE, r"each example has \d files that may be its mask"),
        (("1", "2"), TREE, "has 2 masks, .* each of one object"),
        (("object_1", "object_2"), TREE, "has 2 masks, .* each of one object"),
    ],
)
def test_masks_that_may_be_no_classes_are_errors(tmp_path, words, second, message):
    for name in ("a", "b", "c"):
        put(tmp_path, f"images/{name}.png")
        for word, area in zip(words, (box(*ROAD) & ~box(*TREE), box(*second)), strict=True):
            path = tmp_path / f"masks/{name}_{word}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(png(area))
    with pytest.raises(DataError, match=message):
        propose.propose(tmp_path)
    with pytest.raises(DataError, match="no annotations of a known layout"):
        load(tmp_path)


def test_labelme_names_background_and_ignored_regions(tmp_path):
    content = labelme(tmp_path)
    content["shapes"] += [
        {"label": "_background_", "shape_type": "rectangle", "points": [[0, 10], [16, 12]]},
        {"label": "__ignore__", "shape_type": "rectangle", "points": [[16, 2], [12, 0]]},
    ]
    write(tmp_path / "a.json", content)
    expected = truth()
    expected[10:], expected[:2, 12:] = 0, IGNORE
    np.testing.assert_array_equal(only(tmp_path), expected)


def test_boxes_and_ellipses_of_cvat(tmp_path):
    content = cvat(tmp_path)
    more = '<box label="road" xtl="0" ytl="0" xbr="3" ybr="2"/><ellipse label="tree" cx="14" cy="3" rx="1.2" ry="2.2"/>'
    write(tmp_path / "annotations.xml", content.replace("</image>", f"{more}</image>"))
    label = only(tmp_path)
    assert (label[:2, :3] == 1).all()
    assert (label[:6, 12:] == 2).sum(axis=0).tolist() == [0, 4, 4, 0]


def test_outlines_that_are_made_of_a_centre_reach_beyond_the_picture(tmp_path):
    rows, columns = np.mgrid[:H, :W] + 0.5
    content = labelme(tmp_path / "labelme")
    circle = {"label": "tree", "shape_type": "circle", "points": [[2, 6], [7, 6]]}
    write(tmp_path / "labelme/a.json", content | {"shapes": [circle]})
    np.testing.assert_array_equal(only(tmp_path / "labelme"), (columns - 2) ** 2 + (rows - 6) ** 2 < 25)
    write(tmp_path / "labelme/a.json", content | {"shapes": [circle | {"points": [[-4, 6], [4, 6]]}]})
    with pytest.raises(DataError, match=r"the point \(-4, 6\) is outside"):
        only(tmp_path / "labelme")

    content = cvat(tmp_path / "cvat")
    start, end = content.index("<mask"), content.index("</image>")

    def drawn(shape):
        write(tmp_path / "cvat/annotations.xml", f"{content[:start]}{shape}{content[end:]}")
        return only(tmp_path / "cvat") == 2

    ellipse = drawn('<ellipse label="tree" cx="1" cy="6" rx="6" ry="3"/>')
    np.testing.assert_array_equal(ellipse, ((columns - 1) / 6) ** 2 + ((rows - 6) / 3) ** 2 < 1)
    turned_box = drawn('<box label="tree" xtl="8" ytl="4" xbr="20" ybr="8" rotation="90"/>')
    np.testing.assert_array_equal(turned_box, box(12, 0, 16, 12))
    with pytest.raises(DataError, match=r"the point \(20, 4\) is outside"):
        drawn('<box label="tree" xtl="8" ytl="4" xbr="20" ybr="8"/>')
    with pytest.raises(DataError, match=r"the point \(-6, 6\) is outside"):
        drawn('<ellipse label="tree" cx="-6" cy="6" rx="8" ry="3"/>')


def test_outlines_of_label_studio_reach_beyond_the_picture():
    def drawn(kind, **value):
        mask = np.zeros((H, W), bool)
        raster.paint(mask, labelstudio_reader._draw(kind, value, (H, W)), True)
        return mask

    rows, columns = np.mgrid[:H, :W] + 0.5
    ellipse = drawn("ellipselabels", x=0, y=50, radiusX=25, radiusY=25)
    np.testing.assert_array_equal(ellipse, (columns / 4) ** 2 + ((rows - 6) / 3) ** 2 < 1)
    turned_box = drawn("rectanglelabels", x=25, y=0, width=50, height=50, rotation=90)
    np.testing.assert_array_equal(turned_box, box(0, 0, 4, 8))
    with pytest.raises(DataError, match=r"the point \(20, 0\) is outside of the picture"):
        drawn("rectanglelabels", x=75, y=0, width=50, height=50)


def test_brushes_and_rectangles_of_label_studio(tmp_path):
    content = labelstudio(tmp_path)
    value = {"x": 0, "y": 0, "width": 25, "height": 50, "rotation": 0, "rectanglelabels": ["tree"]}
    region = {"type": "rectanglelabels", "original_width": W, "original_height": H, "value": value}
    # All values of the picture are 255: a run of 768, whose length is in 16 bits.
    bits = f"{4 * H * W:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}1{3:02b}{4 * H * W - 1:016b}{255:08b}"
    bits += "0" * (-len(bits) % 8)
    stream = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    brush = {**region, "type": "brushlabels", "value": {"format": "rle", "rle": stream, "brushlabels": ["road"]}}
    content[0]["annotations"][0]["result"] = [brush, region]
    write(tmp_path / "project.json", content)
    label = only(tmp_path)
    assert (label[:6, :4] == 2).all() and (label == 1).sum() == H * W - 24


def test_the_json_beside_binary_masks_names_their_photographs(tmp_path):
    tags(tmp_path)
    (tmp_path / "images/photo_4.png").rename(tmp_path / "images/first.png")
    with pytest.raises(DataError, match=r"no photograph with the number 4.*Put the JSON export"):
        load(tmp_path)
    task = {"id": 4, "data": {"image": "/data/local-files/?d=x%2Ffirst.png"}, "annotations": [{"result": []}]}
    write(tmp_path / "project.json", [task])
    np.testing.assert_array_equal(only(tmp_path), truth())


def test_yolo_without_a_yaml_has_a_list_of_classes(tmp_path):
    yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    write(tmp_path / "classes.txt", "road\ntree\n")
    np.testing.assert_array_equal(load(tmp_path, "val").read(0)[1], truth())


# ----- splits


def test_without_splits_a_share_is_held_out(tmp_path):
    content = coco(tmp_path)
    content["images"] = [{"id": i, "file_name": f"{i}.png"} for i in range(10)]
    (tmp_path / "images/a.png").unlink()
    put(tmp_path, *(f"images/{i}.png" for i in range(10)))
    write(tmp_path / "annotations/instances.json", content)
    with pytest.raises(ConfigError, match=r"data.val_share.*the annotations name no splits"):
        load(tmp_path, "val")
    assert [len(load(tmp_path, split, val_share=0.1)) for split in ("train", "val")] == [9, 1]


def test_another_split_is_named(tmp_path):
    yolo(tmp_path)
    with pytest.raises(ConfigError, match=r"data.val_split = 'test'.*train, val"):
        load(tmp_path, "test", val_split="test")


def many_labelme(root, *names):
    content = labelme(root / "x")
    put(root / "y", *(f"{name}.png" for name in names))
    for name in names:
        write(root / f"y/{name}.json", content | {"imagePath": f"{name}.png"})
    return root / "y"


def test_words_that_begin_as_a_split_name_none(tmp_path):
    root = many_labelme(tmp_path, "train_1", "train_2", "valley_1", "beach_1", "testament", "trainer")
    assert len(load(root)) == 6
    with pytest.raises(ConfigError, match=r"data.val_share.*the annotations name no splits"):
        load(root, "val")


@pytest.mark.parametrize("name", ["val", "val_1", "val2017", "valid-1", "Validation 1", "x.val", "test1", "testing"])
def test_splits_are_words(tmp_path, name):
    root = many_labelme(tmp_path, "training_1", name)
    split = re.search("[A-Za-z]{3,}", name)[0]
    assert load(root, "training", train_split="training").names == ("training_1.png",)
    assert load(root, split, train_split="training", val_split=split).names == (f"{name}.png",)


def test_photographs_of_no_split_are_reported_in_training(tmp_path):
    root = many_labelme(tmp_path, "train_1", "val_1", "valley_1", "beach")
    write(root / "cut.json", '{"shapes": [], "imagePath"')
    train, val = load(root), load(root, "val")
    assert train.names == ("train_1.png",) and val.names == ("val_1.png",) and not val.bad
    assert {bad.name for bad in train.bad} == {"beach.png", "valley_1.png", "cut.json"}
    assert sum("is in no split, while others are in train, val; move it" in bad.why for bad in train.bad) == 2


def test_images_of_cvat_without_a_subset_beside_others(tmp_path):
    content = cvat(tmp_path)
    start, end = content.index("<image"), content.index("</annotations>")
    put(tmp_path, *(f"images/{name}.png" for name in ("b", "c", "valencia")))
    images = [
        content[start:end].replace('name="a.png"', f'name="{name}.png"{subset}')
        for name, subset in (("a", ' subset="train"'), ("b", ' subset="val"'), ("c", ""), ("valencia", ""))
    ]
    write(tmp_path / "annotations.xml", content[:start] + "".join(images) + content[end:])
    assert [bad.name for bad in load(tmp_path).bad] == ["images/c.png", "images/valencia.png"]
    assert load(tmp_path, "val").names == ("images/b.png",)


# ----- bad input: (builder, what is changed in its content, message of the example)


def changed(path, value):
    def change(content):
        *keys, last = path
        for key in keys:
            content = content[key]
        content[last] = value

    return change


OUTLINE = ["annotations", 0, "segmentation"]
RUNS = ["annotations", 1, "segmentation"]
RESULT = [0, "annotations", 0, "result", 0]
BAD = [
    (coco, changed(OUTLINE, [[1, 1, 5, 5]]), r"annotations\[0\] \(road\): a polygon has 2 different points"),
    (coco, changed(OUTLINE, [[1, 1, 5, 5, 7]]), r"numbers of the shape \[5\], not pairs"),
    (coco, changed(OUTLINE, [[1, 1, 5, "x", 7, 7]]), "a polygon is no list of numbers"),
    (coco, changed(OUTLINE, [[1, 1, 5, float("nan"), 7, 7]]), "a point that is not finite"),
    (coco, changed([*RUNS, "counts"], [3, "x"]), "the run lengths are no whole numbers"),
    (coco, changed(OUTLINE, []), "a box but no outline; draw one"),
    (coco, changed(OUTLINE, [[1, 1, 50, 5, 7, 7]]), r"the point \(50, 5\) is outside of the picture"),
    (coco, changed(OUTLINE, [[1, 1, 9, 9, 9, 1, 1, 9]]), r"crosses itself near \(5, 5\)"),
    (coco, changed(OUTLINE, "x"), r'annotations\[0\].segmentation is "x"'),
    (coco, changed(["annotations", 0, "category_id"], 9), "category_id 9; 'categories' has 3, 5"),
    (coco, changed([*RUNS, "size"], [3, 4]), r"those of \[3, 4\] \(height, width\)"),
    (coco, changed([*RUNS, "counts"], [3, 4]), "add up to 7 pixels, a picture of 12x16"),
    (coco, changed(["images", 0, "height"], 99), "has 12x16 pixels .* were drawn at 99x16; use the one"),
    (labelme, changed(["shapes", 0, "shape_type"], "linestrip"), r"shapes\[0\] \(road\): a 'linestrip' has no area"),
    (labelme, changed(["shapes", 0, "shape_type"], "circle"), "a circle has 4 points instead of 2"),
    (labelme, changed(["shapes", 1, "mask"], "?"), "no base64"),
    (labelme, changed(["shapes", 1, "mask"], "aaaa"), "the bitmap is not an image"),
    (labelme, changed(["shapes", 1, "points"], [[15, 2], [9, 8]]), "exceeds the picture of 12x16"),
    (labelme, changed(["imageWidth"], -3), "were drawn at 12x-3"),
    (labelme, changed(["shapes", 0, "points", 0], []), r"the point \[\]"),
    (labelme, changed(["shapes", 0, "points"], [[1, 2, 3]]), r"the point \[1, 2, 3\]"),
    (supervisely, changed(["objects", 1, "bitmap", "data"], "aaaa"), "its bitmap is damaged"),
    (supervisely, changed(["objects", 1, "bitmap", "origin"], [14, 2]), "exceeds the picture of 12x16"),
    (supervisely, changed(["objects", 1, "bitmap", "origin"], [14]), r"the origin \[14\]"),
    (supervisely, changed(["objects", 0, "geometryType"], "line"), "a 'line' has no area"),
    (labelstudio, changed([*RESULT, "image_rotation"], 90), "turned by 90"),
    (labelstudio, changed([*RESULT, "value", "polygonlabels"], []), r"task 4, result\[0\] has the classes \[\]"),
    (labelstudio, changed([*RESULT, "type"], "polygon"), "without a class of its own"),
    (labelstudio, changed([*RESULT, "original_width"], "x"), "original_width is"),
    (labelstudio, changed([0, "annotations"], [{"result": []}, {"result": []}]), "task 4 has 2 annotations; mark one"),
]
FILES = {
    coco: "annotations/instances.json",
    labelme: "a.json",
    supervisely: "ds0/ann/a.png.json",
    labelstudio: "project.json",
}


@pytest.mark.parametrize(("builder", "change", "message"), BAD)
def test_bad_annotations_are_errors_of_their_photograph(tmp_path, builder, change, message):
    content = builder(tmp_path)
    change(content)
    write(tmp_path / FILES[builder], content)
    with pytest.raises(DataError, match=f"(?s){message}") as error:
        load(tmp_path).read(0)
    assert FILES[builder] in str(error.value)


def places(content, path=()):
    """The path to everything in a document."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@pytest.mark.parametrize("builder", FILES)
def test_no_other_value_anywhere_ends_in_a_traceback(tmp_path, builder):
    original = builder(tmp_path)
    refused = 0
    for path in places(original):
        for value in (None, -1, "x", [[]], {}, 10**30):
            content = json.loads(json.dumps(original))
            changed(path, value)(content)
            write(tmp_path / FILES[builder], content)
            try:
                examples = load(tmp_path)
                for i in range(len(examples)):
                    examples.read(i)
            except (DataError, LabelError, ConfigError) as error:
                refused += 1
                assert str(tmp_path) in str(error)
    assert refused > 50


@pytest.mark.parametrize("builder", FILES)
@pytest.mark.parametrize("share", [0.6, 0.99])
def test_documents_that_are_cut_off(tmp_path, builder, share):
    builder(tmp_path)
    path = tmp_path / FILES[builder]
    content = path.read_text()
    write(path, content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"is not whole JSON.*; (export|save)") as error:
        load(tmp_path).read(0)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</annotations>", "", "is not whole XML"),
        ("<image ", "<track/><image ", "has tracks of a video"),
        ('points="0.00,', 'points="x,', "an attribute that is missing or no number"),
        ("<polygon", "<polyline", "a polyline has no area"),
        ('label="tree" rle', 'rle="1" old', r"missing or no number \('label'\)"),
        (' left="4"', "", r"an attribute that is missing or no number \('left'\)"),
        ("0, 42", "0, 41", "add up to 41 pixels"),
    ],
)
def test_bad_xml(tmp_path, old, new, message):
    content = cvat(tmp_path).replace("polygon>", "polyline>" if new == "<polyline" else "polygon>")
    write(tmp_path / "annotations.xml", content.replace(old, new))
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path).read(0)
    assert "annotations.xml" in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1 0.1", r"line 1 \(road\): 4 numbers are a box"),
        ("0 0.5 0.5 0.1", "3 numbers are no pairs"),
        ("0 0.5 0.5 0.1 0.1 0.2 nan", "no pairs of finite"),
        ("9 0.5 0.5 0.1 0.1 0.2 0.2", "has the class 9; the names are those of 0 road, 1 tree"),
        ("road 0.5 0.5", "is no class with numbers"),
        ("0 0 0 1.5 0 1.5 1", "is outside of the picture"),
    ],
)
def test_bad_lines(tmp_path, line, message):
    yolo(tmp_path)
    write(tmp_path / "labels/train/a.txt", line)
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path).read(0)
    assert "labels/train/a.txt" in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("data.yaml", "names: [road\ntrain: x", r"data.yaml: it is not valid YAML \(line"),
        ("data.yaml", "names: 3", "'names' is no list of names"),
        ("data.yaml", "x: {names: 3}", "data.yaml has no 'names'"),
        (
            "data.yaml",
            "names: [road, tree]\ntrain: images/none",
            "train: images/none is neither a directory nor a list",
        ),
        ("data.yaml", "names: [road, tree]\ntrain: l.txt", "l.txt lists x.png, which is not there"),
        ("meta.json", '{"classes": [', "meta.json is not whole JSON"),
    ],
)
def test_bad_documents_of_a_data_set(tmp_path, name, text, message):
    (yolo if name == "data.yaml" else supervisely)(tmp_path)
    write(tmp_path / name, text)
    write(tmp_path / "l.txt", "x.png")
    with pytest.raises(DataError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("builder", "photo", "message"),
    [
        (coco, "images/a.png", r"images\[0\]: names the photograph 'a.png', which is not below"),
        (labelme, "a.png", "names the photograph 'a.png', which is not there; add it"),
        (cvat, "images/a.png", "there is no photograph 'a.png' below"),
        (labelstudio, "images/a.png", "task 4: its photograph /data/upload/1/0a1b2c3d-a.png is not there"),
        (supervisely, "ds0/img/a.png", "belongs to the photograph .*a.png, which is not there"),
        (yolo, "images/train/a.png", "has no photograph .*images/train/a"),
    ],
)
def test_annotations_without_a_photograph(tmp_path, builder, photo, message):
    builder(tmp_path)
    (tmp_path / photo).rename(tmp_path / photo.replace("a.png", "z.png"))
    write(tmp_path / "class_names.json", ["background", "road", "tree"])
    examples = load(tmp_path)
    assert any(re.search(message, f"{bad.name}: {bad.why}") for bad in examples.bad)


@pytest.mark.parametrize("layout", sorted(set(BUILDERS) - {"tags"}))
def test_photographs_without_annotations(tmp_path, layout):
    BUILDERS[layout](tmp_path)
    place = load(tmp_path).files[0][0].with_name("zz.png")
    put(tmp_path, place)
    (bad,) = load(tmp_path).bad
    assert bad.name.endswith("zz.png") and "has no annotations; annotate it, or set --config.data.missing" in bad.why
    examples = load(tmp_path, missing_mask="background")
    assert not examples.bad and not examples.read(len(examples) - 1)[1].any()


def test_a_photograph_is_annotated_once(tmp_path):
    content = labelme(tmp_path)
    write(tmp_path / "b.json", content)
    (bad,) = load(tmp_path).bad
    assert bad.name == "b.json" and "a.json does; remove one" in bad.why


def test_two_documents_of_one_split_are_refused(tmp_path):
    content = coco(tmp_path)
    write(tmp_path / "annotations/instances_b.json", content)
    with pytest.raises(DataError, match="are both annotations of one data set"):
        load(tmp_path)


def test_names_that_several_photographs_have(tmp_path):
    coco(tmp_path)
    put(tmp_path, "one/a.png")
    with pytest.raises(DataError, match=r"'a.png' may be images/a.png and one/a.png"):
        load(tmp_path)


def test_directories_of_something_else(tmp_path):
    put(tmp_path, "a.png")
    with pytest.raises(DataError, match=r"no annotations of a known layout \(Label Studio's binary masks"):
        load(tmp_path)
    with pytest.raises(DataError, match="is not a directory"):
        load(tmp_path / "none")
    write(tmp_path / "a.json", {"shapes": [], "imagePath": "a.png"})
    with pytest.raises(DataError, match="have no class"):
        load(tmp_path)
    write(tmp_path / "class_names.json", "[]")
    with pytest.raises(LabelError, match="0 classes"):
        load(tmp_path)


# ----- the layouts of the cases beside the repository


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """(directory, truth, what each layout must give)."""
    if not CASES.is_file():
        pytest.skip(f"there is no {CASES}")
    out = tmp_path_factory.mktemp("cases")
    argv, sys.argv = sys.argv, [str(CASES), str(out)]
    try:
        runpy.run_path(str(CASES), run_name="__main__")
    finally:
        sys.argv = argv
    return out, np.load(out / "truth.npz")["labels"], json.loads((out / "expected.json").read_text())


@pytest.mark.parametrize(
    "layout",
    ["cvat_voc", "roboflow", "labelme", "coco", "ade20k", "mapillary", "supervisely", "labelstudio", "bdd100k"],
)
def test_the_cases_come_out_as_they_should(cases, tmp_path, layout):
    """What `inspect` proposes reads all pixels of a case, its names and its splits."""
    out, labels, expected = cases
    root, wanted = out / layout, expected[layout]
    proposal = propose.propose(root)
    propose.write(proposal, tmp_path / "c.py")
    config = configuration([f"--config={tmp_path / 'c.py'}"])
    ids = np.zeros(256, np.uint8)
    for value, meant in wanted["map"].items():
        ids[int(value)] = IGNORE if meant == "ignore" else meant
    seen = []
    for split, key in ((config.data.train_split, "train"), (config.data.val_split, "val")):
        examples = data.load(config, split)
        assert not examples.bad
        if wanted["names"]:
            assert examples.table.names[: len(wanted["names"])] == tuple(wanted["names"])
        numbers = [int(re.findall(r"\d+", files[0].stem)[0]) for files in examples.files]
        seen += numbers
        if wanted["splits"]:
            assert sorted(numbers) == wanted["splits"][key]
        for i, number in enumerate(numbers):
            np.testing.assert_array_equal(examples.read(i)[1], truth_of(layout, ids, labels[number]))
    assert sorted(seen) == list(range(8))


def truth_of(layout, ids, label):
    """The truth of one case, where its description says more than its table of ids does."""
    if layout == "coco":  # nothing but the lower half is annotated
        return np.repeat(np.arange(48) >= 24, 64).reshape(48, 64).astype(np.uint8)
    if layout == "labelme":  # the rectangle of the tree ends at its last column and at row 28
        truth = np.repeat(np.arange(48) >= 24, 64).reshape(48, 64).astype(np.uint8)
        columns = np.nonzero(label == 2)[1]
        truth[10:28, columns.min() : columns.max()] = 2
        return truth
    truth = ids[label]
    if layout == "bdd100k":
        truth[:3] = IGNORE
    return truth
