"""The page of a data set: what it shows in which order, that it needs nothing else, and that names stay text."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from seg_jax.config import with_fields
from seg_jax.curate import browse
from seg_jax.curate.__main__ import configuration, main
from seg_jax.curate.crops import CROPS, crops
from seg_jax.curate.lint import Finding
from seg_jax.data import sampler
from seg_jax.data.examples import Examples
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelTable

# How ml_collections loads a configuration file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

TABLE = LabelTable(names=("sky", "road & <b>", "car", "boat"), colors=((0, 0, 9), (9, 0, 0), (0, 200, 0), (5, 5, 5)))


def examples(split, masks, names=()):
    """Examples with these masks; their photographs are grey, and None cannot be read."""

    def read(i):
        if masks[i] is None:
            raise DataError("broken")
        return np.full((*masks[i].shape, 3), 100, np.uint8), masks[i]

    names = names or tuple(f"{i}.jpg" for i in range(len(masks)))
    return Examples(split=split, names=tuple(names), read=read, table=TABLE)


def mask(road=0, car=0):
    """100 pixels: those of the road, of cars, one ignored, and sky."""
    values = np.zeros(100, np.uint8)
    values[:road], values[road : road + car], values[-1] = 1, 2, IGNORE
    return values.reshape(10, 10)


def figures(page):
    return re.findall(r"<figcaption>(.*?)</figcaption>", page)


def decoded(page, form):
    for text in re.findall(rf'src="data:image/{form};base64,([^"]*)"', page):
        with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
            yield np.asarray(picture)


def test_classes_come_rarest_first_each_with_its_photographs():
    splits = [examples("train", [mask(90), mask(20, 3), mask(10), None]), examples("val", [mask(30)])]
    page = browse.page("mine", splits, [], threads=1)
    assert re.findall(r"<tr><td>.*?</i>([^<]*)(?:</a>)?</td>(.*?)</tr>", page) == [
        ("boat", "<td>0.000%</td><td>0</td><td>0.000%</td><td>0</td>"),
        ("car", "<td>1.010%</td><td>1</td><td>0.000%</td><td>0</td>"),
        ("road &amp; &lt;b&gt;", "<td>40.404%</td><td>3</td><td>30.303%</td><td>1</td>"),
        ("sky", "<td>58.586%</td><td>3</td><td>69.697%</td><td>1</td>"),
    ]
    assert [name for _, name in re.findall(r"<h2 id=\"class-(\d)\"><i .*?></i>(.*?)</h2>", page)] == [
        "car", "road &amp; &lt;b&gt;", "sky",
    ]  # fmt: skip
    shown = figures(page)
    assert shown[:3] == ["train: 1.jpg, 3.03%", "train: 0.jpg, 90.91%", "val: 0.jpg, 30.30%"]
    assert shown[3] == '<a href="#0-1">above</a>: train: 1.jpg, 20.20%' and 'id="0-1"' in page
    assert shown[4:6] == ["train: 2.jpg, 10.10%", '<a href="#0-2">above</a>: train: 2.jpg, 89.90%']


def test_the_mask_lies_over_the_photograph_and_leaves_ignored_pixels_free():
    page = browse.page("mine", [examples("train", [mask(20, 30)])], [], threads=1)
    (photo,), (colors,) = decoded(page, "jpeg"), decoded(page, "png")
    assert photo.shape == (10, 10, 3) and abs(photo.astype(int) - 100).max() <= 2
    np.testing.assert_array_equal(colors[..., :3].reshape(100, 3)[:50], [TABLE.colors[1]] * 20 + [TABLE.colors[2]] * 30)
    np.testing.assert_array_equal(colors[..., 3].ravel(), [255] * 99 + [0])


def test_large_photographs_are_reduced():
    page = browse.page("mine", [examples("train", [np.zeros((90, 2000), np.uint8)])], [], threads=1)
    assert [picture.shape[:2] for form in ("jpeg", "png") for picture in decoded(page, form)] == [(16, browse.SIDE)] * 2


def test_a_page_is_bounded(monkeypatch):
    monkeypatch.setattr(browse, "PICTURES", 4)
    page = browse.page("mine", [examples("train", [mask(i, 9) for i in range(20)])], [], threads=2)
    assert len(list(decoded(page, "jpeg"))) == 4
    assert re.search(r"\d+ more photographs are left out: a page has at most 4 photographs and 24 MiB", page)
    monkeypatch.setattr(browse, "BYTES", 1)
    assert len(list(decoded(browse.page("mine", [examples("train", [mask(5)] * 3)], [], threads=1), "jpeg"))) == 1


def test_findings_are_a_table_and_the_photographs_that_they_name():
    findings = [Finding("one class", "train", "1.jpg", "the only class is <i>", "look")]
    findings += [Finding("unusable", "train", "2.jpg", "broken", "mend it")]
    findings += [Finding("duplicate", "val", f"{i}", "the same", "keep one") for i in range(25)]
    page = browse.page("mine", [examples("train", [mask(9), mask(), None])], findings, threads=1)
    assert "3 of train; 26 findings and 1 notes" in page
    rows = re.findall(r"<tr><td>(.*?)</td>", page.split("<h2>Findings</h2>")[1])
    assert rows == ["unusable", *["duplicate"] * 21, "one class"]
    assert "... and 5 more" in page
    assert figures(page)[0] == "train: 1.jpg, one class: the only class is &lt;i&gt;"


def test_names_are_text_and_nothing_is_loaded():
    evil = '"><script>alert(1)</script>'
    finding = Finding("one class", "train", evil, evil, evil)
    page = browse.page(evil, [examples("train", [mask(5)], [evil])], [finding], threads=1)
    assert "<script" not in page and "http" not in page
    assert all(source.startswith("data:image/") for source in re.findall(r'src="([^"]*)', page))


@pytest.fixture
def root(tmp_path):
    """Photographs of one colour each and their masks, in two directories."""
    for i in range(6):
        values = np.zeros((32, 32), np.uint8)
        values[:, : 8 + i] = 1
        for folder, array in (("photos", np.full((32, 32, 3), 20 * i + 5, np.uint8)), ("truth", values)):
            (tmp_path / "mine" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "mine" / folder / f"{i}.png")
    (tmp_path / "mine" / "class_names.json").write_text(json.dumps(["ground", "tree"]))
    return tmp_path / "mine"


def test_a_directory_and_its_configuration(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["browse", str(root)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("mine_browse.html: 0.0 MiB")
    page = (tmp_path / "mine_browse.html").read_text()
    assert "<h1>mine</h1>" in page and "5 of train, 1 of val; 6 findings" in page  # photographs of one colour
    assert "Training crops" not in page
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"mine", "mine_browse.html"}
    assert main(["browse", str(root), "--out=other.html"]) == 0
    assert (tmp_path / "other.html").read_text() == page
    capsys.readouterr()
    assert main(["browse", str(tmp_path / "nothing")]) == 1
    assert "is not a directory" in capsys.readouterr().err


def test_different_sizes_are_findings_only_where_nothing_takes_them(root, tmp_path, capsys):
    for folder in ("photos", "truth"):
        path = root / folder / "0.png"
        Image.open(path).resize((40, 48), 0).save(path)
    assert main(["browse", str(root), f"--out={tmp_path / 'x.html'}"]) == 0
    assert "<td>sizes</td>" not in (tmp_path / "x.html").read_text()  # the proposal sets data.size
    main(["inspect", str(root), f"--out={tmp_path / 'c.py'}"])
    capsys.readouterr()
    for flags, count in (("--config.augment.crop=(0, 0)", 1), ("--config.augment.crop=(32, 32)", 0)):
        main(["lint", f"--config={tmp_path / 'c.py'}", "--splits=train,val", "--config.data.size=(0, 0)",
              "--config.data.val_share=0.5", flags])  # fmt: skip
        assert capsys.readouterr().out.count("photographs differ in size") == count


def test_crops_are_those_of_the_first_steps(root, tmp_path):
    main(["inspect", str(root), f"--out={tmp_path / 'c.py'}"])
    config = with_fields(
        configuration([f"--config={tmp_path / 'c.py'}"]),
        {"model.encoder.weights": "", "model.encoder.name": "plain", "train.batch_size": 8, "seed": 3}
        | {f"augment.{name}": 0.0 for name in ("flip", "brightness", "contrast", "saturation", "hue")}
        | {"augment.scale": (1.0, 1.0), "augment.crop": (0, 0)},
    )
    shown = crops(config)
    order = np.concatenate([sampler.indices(3, step, 8, 5) for step in range(3)])
    assert len(shown) == CROPS == len(order)
    photographs = sorted({name.split(": ")[1] for name, _ in shown})
    for position, (i, (name, (image, label))) in enumerate(zip(order, shown, strict=True)):
        assert name == f"step {position // 8}: {photographs[i]}"
        number = int(re.search(r"(\d)\.png", name)[1])
        assert image.dtype == np.uint8 and (image == 20 * number + 5).all()
        assert (label.sum(axis=1) == 8 + number).all()
