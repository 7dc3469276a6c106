"""Documents beside the images: tables and lists that are used, and the reason why others are not."""

import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from seg_jax import data
from seg_jax.curate import propose
from seg_jax.curate.__main__ import configuration, main
from seg_jax.data.images import DataError

# How ml_collections loads a configuration file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

RNG = np.random.default_rng(0)
PALETTE = np.array([[226, 169, 41], [132, 41, 246]], np.uint8)


def put(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def truth(i):
    mask = np.zeros((24, 32), np.uint8)
    mask[:, 4 + 2 * (i % 10) :] = 1
    return mask


def pairs(root, photo="images/{i}.jpg", mask="masks/{i}.png", *, n=12, draw=truth):
    for i in range(n):
        put(root / photo.format(i=i), RNG.integers(0, 256, (24, 32, 3), np.uint8))
        put(root / mask.format(i=i), draw(i))
    return root


def written(root, out):
    proposal = propose.propose(root)
    propose.write(proposal, out)
    config = configuration([f"--config={out}"])
    examples = [data.load(config, split) for split in (config.data.train_split, config.data.val_split)]
    for part in examples:
        assert not part.bad
        for i in range(len(part)):
            part.read(i)
    return config, examples, proposal


# ----- names that are spelled otherwise


@pytest.mark.parametrize(
    ("photo", "mask", "patterns"),
    [
        ("images/{i}.jpg", "masks/{i:03}.png", ("images", "masks")),
        ("images/{i:04}.jpg", "masks/{i}_mask.png", ("images", "masks/*_mask")),
        ("photos/bonn/{i}.jpg", "masks/bonn_{i}.png", ("photos/bonn", "masks/bonn_*")),
        ("a/IMG_{i:02}.jpg", "b/img-{i}.png", ("a", "b")),
    ],
)
def test_all_pairs_are_found(tmp_path, photo, mask, patterns):
    config, examples, _ = written(pairs(tmp_path / "d", photo, mask), tmp_path / "my.py")
    assert (config.data.images, config.data.masks) == patterns
    assert sum(map(len, examples)) == 12


def test_directories_of_photographs_and_one_of_masks(tmp_path):
    for city in ("bonn", "ulm", "aachen"):
        pairs(tmp_path / "d", f"photos/{city}/{{i}}.jpg", f"masks/{city}_{{i}}.png", n=4)
    config, examples, _ = written(tmp_path / "d", tmp_path / "my.py")
    assert (config.data.images, config.data.masks) == ("photos/**/*", "masks")
    cities = [{name.split("/")[1] for name in part.names} for part in examples]
    assert [len(part) for part in examples] == [8, 4] and not cities[0] & cities[1]


def test_linked_directories(tmp_path):
    root = pairs(tmp_path / "d", "images/a/{i}.png", "masks/a/{i}.png", n=8)
    pairs(tmp_path / "disk", "images/b/{i}.png", "masks/b/{i}.png", n=4)
    for kind in ("images", "masks"):
        (root / kind / "b").symlink_to(tmp_path / "disk" / kind / "b", target_is_directory=True)
    _, examples, _ = written(root, tmp_path / "my.py")
    assert sum(map(len, examples)) == 12


def test_links_within_the_directory(tmp_path):
    root = pairs(tmp_path / "d", "images/a/{i}.png", "masks/a/{i}.png", n=8)
    pairs(root, "store/i/{i}.png", "store/m/{i}.png", n=4)
    (root / "images" / "b").symlink_to(root / "store" / "i", target_is_directory=True)
    (root / "masks" / "b").symlink_to("../store/m", target_is_directory=True)
    (root / "images" / "newest").symlink_to("a", target_is_directory=True)
    config, examples, proposal = written(root, tmp_path / "my.py")
    assert (config.data.images, config.data.masks) == ("images/**/*", "masks/**/*")
    assert sum(map(len, examples)) == 12 and proposal.files == (24, 24)


# ----- groups


def test_whole_directories_are_held_out(tmp_path):
    root = tmp_path / "d"
    for tile in range(4):
        pairs(root, f"Tile {tile}/images/{{i}}.jpg", f"Tile {tile}/masks/{{i}}.png", n=5)
    config, examples, proposal = written(root, tmp_path / "my.py")
    assert config.data.group == "^([^/]+)/"
    tiles = [{name.split("/")[0] for name in part.names} for part in examples]
    assert [len(found) for found in tiles] == [3, 1] and not tiles[0] & tiles[1]
    assert "photographs are in 4 directories (Tile 0, Tile 1, Tile 2, ...): whole ones are held out" in proposal.summary


def test_two_directories_are_divided_and_named(tmp_path):
    root = tmp_path / "d"
    for place in ("x", "y"):
        pairs(root, f"images/{place}/{{i}}.jpg", f"masks/{place}/{{i}}.png", n=10)
    config, examples, proposal = written(root, tmp_path / "my.py")
    assert config.data.group == "" and [len(part) for part in examples] == [18, 2]
    assert "in 2 directories (x, y), both divided: set data.group" in proposal.summary


def test_a_directory_for_each_example_is_no_group(tmp_path):
    config, _, proposal = written(pairs(tmp_path / "d", "{i}/p.jpg", "{i}/m.png"), tmp_path / "my.py")
    assert config.data.group == "" and "directories" not in proposal.summary


def test_beginnings_of_names_are_told_and_what_is_told_works(tmp_path):
    root = tmp_path / "d"
    for case in range(5):
        pairs(root, f"images/case{case}_{{i}}.jpg", f"masks/case{case}_{{i}}.png", n=6)
    config, _, proposal = written(root, tmp_path / "my.py")
    assert config.data.group == ""
    (expression,) = re.findall(r"begin with 5 different words \(case0, .*set data\.group to '(.*)'", proposal.summary)
    config = configuration([f"--config={tmp_path / 'my.py'}", f"--config.data.group={expression}"])
    cases = [{name[len("images/case")] for name in data.load(config, split).names} for split in ("train", "val")]
    assert [len(found) for found in cases] == [4, 1] and not cases[0] & cases[1]


# ----- tables


def colored(i):
    return PALETTE[truth(i)]


TABLES = {
    "classes.json": {"classes": [{"title": "Water", "color": "#E2A929"}, {"title": "Land", "color": "#8429F6"}]},
    "meta.json": {"#E2A929": "Water", "#8429F6": "Land"},
    "ontology.json": [{"name": "Water", "color": [226, 169, 41]}, {"name": "Land", "color": [132, 41, 246]}],
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_colours_beside(tmp_path, name):
    root = pairs(tmp_path / "d", draw=colored)
    (root / name).write_text(json.dumps(TABLES[name]))
    config, examples, proposal = written(root, tmp_path / "my.py")
    assert examples[0].table.names == ("Water", "Land")
    assert config.data.labels == str((root / name).resolve())
    assert f"{name} tells the classes" in proposal.summary and proposal.table is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "path: .\nnames:\n  0: Water\n  1: Land\n"),
        ("labels.txt", "Water\nLand\n"),
        ("id2label.json", '{"0": "Water", "1": "Land"}'),
        ("meta/classes.csv", "id,name\n0,Water\n1,Land\n"),
    ],
)
def test_a_table_of_values_beside(tmp_path, name, text):
    root = pairs(tmp_path / "d")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(text)
    assert written(root, tmp_path / "my.py")[1][0].table.names == ("Water", "Land")


def test_a_table_in_every_directory(tmp_path):
    root = pairs(tmp_path / "d", "{i}_json/img.png", "{i}_json/label.png")
    for i in range(12):
        (root / f"{i}_json" / "label_names.txt").write_text("ground\ntree\n")
    assert written(root, tmp_path / "my.py")[1][0].table.names == ("ground", "tree")


def test_tables_that_differ_from_directory_to_directory(tmp_path, capsys):
    root = pairs(tmp_path / "d", "{i}_json/img.png", "{i}_json/label.png")
    for i in range(12):
        (root / f"{i}_json" / "label_names.txt").write_text("ground\ntree\n" if i % 2 else "tree\nground\n")
    assert main(["inspect", str(root), f"--out={tmp_path / 'my.py'}"]) == 1
    shown = capsys.readouterr()
    assert "**/label_names.txt (12 files): differ from one another, so a value is another class" in shown.out
    assert "error: the tables of classes in the directories differ" in shown.err


# ----- lists


def listing(rows, **options):
    text = io.StringIO()
    csv.writer(text, **options).writerows(rows)
    return text.getvalue()


def test_lists_of_splits_of_any_form(tmp_path):
    root = pairs(tmp_path / "d", "images/my scene {i:02}.jpg", "masks/my scene {i:02}.png")
    rows = [(f"images/my scene {i:02}.jpg", f"masks/my scene {i:02}.png") for i in range(12)]
    (root / "train.txt").write_bytes(b"\xef\xbb\xbf" + listing(rows[:9], delimiter="\t").encode() + b"\r\n")
    (root / "val.txt").write_text("\r\n".join(" ".join(row) for row in rows[9:]), newline="")
    config, examples, _ = written(root, tmp_path / "my.py")
    assert config.data.list == "{split}.txt"
    assert [len(part) for part in examples] == [9, 3]
    assert [name.split(" + ")[0] for name in examples[1].names] == [row[0] for row in rows[9:]]


def test_two_sets_of_lists(tmp_path):
    root = pairs(tmp_path / "d")
    for name, rows in (("train", range(9)), ("val", range(9, 12))):
        listed = [(f"images\\{i}.jpg", f"masks\\{i}.png") for i in rows]
        (root / f"{name}.csv").write_text(listing([("image", "mask"), *listed]))
        (root / f"{name}.txt").write_text(listing(listed, delimiter="\t"))
    config, examples, proposal = written(root, tmp_path / "my.py")
    assert config.data.list == "{split}.csv" and [len(part) for part in examples] == [9, 3]
    assert "train.txt: lists 9 pairs; train.csv is used" in proposal.summary


def test_a_list_with_rows_of_missing_files_is_a_list(tmp_path, capsys):
    root = pairs(tmp_path / "d")
    (root / "train.txt").write_text("".join(f"images/{i}.jpg masks/{i}.png\n" for i in range(11)))
    (root / "val.txt").write_text("images/11.jpg masks/11.png\nimages/gone.jpg masks/gone.png\n")
    assert main(["inspect", str(root), f"--out={tmp_path / 'my.py'}"]) == 0
    shown = capsys.readouterr().out
    assert "lists {split}.txt (11, 1 pairs)" in shown
    assert re.search(r"val\.txt, line 2: names a file that does not exist: .*gone\.jpg", shown)


def test_lists_of_stems(tmp_path):
    root = pairs(tmp_path / "d", "JPEGImages/{i}.jpg", "SegmentationClass/{i}.png")
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "train.txt").write_text("".join(f"{i}\n" for i in range(8)))
    (root / "ImageSets" / "val.txt").write_text("".join(f"{i}\n" for i in range(8, 12)))
    config, examples, _ = written(root, tmp_path / "my.py")
    assert (config.data.images, config.data.list) == ("JPEGImages", "ImageSets/{split}.txt")
    assert [len(part) for part in examples] == [8, 4]


def test_one_list_says_which_file_belongs_to_which(tmp_path):
    root = pairs(tmp_path / "d", "in/{i}.jpg", "out/x{i}.png")
    rows = [("image", "mask"), *((f"in/{i}.jpg", f"out/x{(i + 1) % 12}.png") for i in range(12))]
    (root / "pairs.csv").write_text(listing(rows))
    config, examples, _ = written(root, tmp_path / "my.py")
    assert config.data.list == "pairs.csv" and [len(part) for part in examples] == [11, 1]
    assert "in/3.jpg + out/x4.png" in examples[0].names + examples[1].names


# ----- what was not used


def test_every_document_that_is_not_used_is_named(tmp_path):
    root = pairs(tmp_path / "d")
    (root / "class_names.json").write_text('["a", "b"]')
    (root / "label_colors.txt").write_text("1 2 3 a\n4 5 6 b\n")
    (root / "README.txt").write_text("Photographs of trees.")
    (root / "train.txt").write_text("nothing.jpg\n")
    (root / "heights.npy").write_bytes(b"no array")
    (root / "a.xml").write_text("<x/>")
    (root / "classes.json").write_text('[{"colour": 3}]')
    summary = propose.propose(root).summary
    rows = dict(re.findall(r"^  ([^:]+): (.+)$", summary.partition("documents that are not used:")[2], re.MULTILINE))
    assert rows["label_colors.txt"] == "is a label table; class_names.json is used"
    assert rows["README.txt"] == "is no label table, and no list of photographs with their masks"
    assert rows["train.txt"] == "names no pair of a photograph and a mask that are there"
    assert rows["heights.npy"].startswith("cannot be read as an array")
    assert rows["a.xml"].startswith("annotations in this form are not read")
    assert "entry 0" in rows["classes.json"] and "has no 'name'" in rows["classes.json"]
    assert len(rows) == 6


@pytest.mark.parametrize(("kind", "top"), [(np.int64, 1), (np.uint16, 700)])
def test_masks_that_are_arrays_and_the_cure_for_them(tmp_path, kind, top):
    root = tmp_path / "d"
    (root / "masks").mkdir(parents=True)
    for i in range(12):
        put(root / "images" / f"{i}.jpg", RNG.integers(0, 256, (24, 32, 3), np.uint8))
        np.save(root / "masks" / f"{i}.npy", truth(i).astype(kind) * top)
    with pytest.raises(DataError) as error:
        propose.propose(root)
    message = str(error.value)
    assert f"masks/*.npy (12 files): is an array, {np.dtype(kind)} [24, 32] with values 0 to {top}" in message
    (cure,) = re.findall(r"of the same name: (.*)", message)
    for path in sorted(root.glob("masks/*.npy")):  # what the message says is done
        exec(cure, {"path": path, "np": np, "Image": Image})
    _, examples, _ = written(root, tmp_path / "my.py")
    assert sum(map(len, examples)) == 12 and len(examples[0].table) == 2


def test_less_than_nine_tenths_of_the_files(tmp_path, capsys):
    root = pairs(tmp_path / "d")
    put(root / "images" / "more.jpg", RNG.integers(0, 256, (24, 32, 3), np.uint8))
    assert main(["inspect", str(root), f"--out={tmp_path / 'a' / 'my.py'}"]) == 0
    for i in range(4):
        put(root / "images" / f"more{i}.jpg", RNG.integers(0, 256, (24, 32, 3), np.uint8))
    assert main(["inspect", str(root), f"--out={tmp_path / 'b' / 'my.py'}"]) == 1
    assert "error: 24 of 29 image files are used, less than nine tenths" in capsys.readouterr().err
    assert (tmp_path / "b" / "my.py").is_file()


def test_a_test_split_without_masks_is_expected(tmp_path):
    root = pairs(tmp_path / "d", "train/images/{i}.jpg", "train/masks/{i}.png")
    for i in range(12):
        put(root / "test" / "images" / f"{i}.jpg", RNG.integers(0, 256, (24, 32, 3), np.uint8))
    assert propose.propose(root).files == (24, 24)
