"""python -m seg_jax.data: from two directories to a training, and one line for every wrong use."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_jax import data, viz
from seg_jax.curate import plan
from seg_jax.curate.__main__ import configuration, main
from seg_jax.data import stats
from seg_jax.data.prepared import MANIFEST
from seg_jax.run import program

REPOSITORY = Path(__file__).resolve().parents[2]

# How ml_collections loads a configuration file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def root(tmp_path):
    """Photographs and masks in two directories."""
    rng = np.random.default_rng(0)
    for i in range(12):
        mask = np.zeros((32, 48), np.uint8)
        mask[:, rng.integers(8, 40) :] = 255
        photo = np.clip(mask[..., None] // 2 + rng.integers(0, 90, (32, 48, 3)), 0, 255).astype(np.uint8)
        for folder, array in (("photos", photo), ("truth", mask)):
            (tmp_path / "mine" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "mine" / folder / f"{i:02}.png")
    return tmp_path / "mine"


@pytest.fixture
def config(root, tmp_path, capsys):
    """The configuration that `inspect` writes for them."""
    assert main(["inspect", str(root), f"--out={tmp_path / 'my_config.py'}"]) == 0
    return f"--config={tmp_path / 'my_config.py'}"


@pytest.mark.slow
def test_two_directories_train_two_minutes_later(config, tmp_path, capsys):
    shown = capsys.readouterr().out
    assert "photographs photos with masks truth" in shown
    assert [line.split()[:5] for line in shown.splitlines() if "ground" in line and "%" in line] == [
        ["0", "0", "#f26d6d", "background", shown.split("background ")[1].split()[0]],
        ["1", "255", "#093ab2", "foreground", shown.split("foreground ")[1].split()[0]],
    ]
    assert f"python -m seg_jax.main {config}" in shown
    assert "for this device (8 x cpu, " in shown and "U-Net on efficientnet_lite0 with ImageNet's weights" in shown
    assert re.search(r"expected, within a factor of two: \d+ (min|h), \d+\.\d GiB of memory", shown)
    written = (tmp_path / "my_config.py").read_text()
    assert "expected, within a factor of two" in written and "c.model.encoder.name = 'efficientnet_lite0'" in written
    for kind in ("sheet", "classes"):
        with Image.open(tmp_path / f"my_config_{kind}.png") as picture:
            assert picture.format == "PNG"
    read = configuration([config])
    program.check(read, devices=1)
    assert [len(data.load(read, split)) for split in ("train", "val")] == [11, 1]
    command = [sys.executable, "-m", "seg_jax.main", config, f"--workdir={tmp_path / 'run'}", "--config.train.steps=2"]
    command += ["--config.model.encoder.name=plain", "--config.model.encoder.weights=", "--config.optim.warmup_steps=0"]
    command += ["--config.model.encoder.width=4", "--config.model.encoder.depth=4", "--config.train.batch_size=2"]
    command += ["--config.eval.batch_size=2", "--config.log.tensorboard=False"]
    command += ["--config.loss.class_weights=median_frequency"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "class weights by median_frequency: background " in done.stderr
    assert json.loads((tmp_path / "run" / "report.json").read_text())["protocol"]["images"] == 1


def test_inspect_a_configuration(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", config, "--config.data.val_split=val", f"--out={tmp_path / 'p'}"]) == 0
    assert "train: 11 examples" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.glob("p_*")) == ["p_classes.png", "p_sheet.png"]
    assert main(["inspect", config]) == 0
    assert (tmp_path / "my_config_sheet.png").is_file()


def test_lint(config, root, tmp_path, capsys):
    assert main(["lint", config]) == 0
    assert capsys.readouterr().out.endswith("0 findings and 0 notes in 11 of train, 1 of val\n")
    Image.fromarray(np.full((32, 48), 9, np.uint8)).save(root / "truth" / "03.png")
    out = tmp_path / "findings.json"
    assert main(["lint", config, f"--json={out}", "--splits=train"]) == 1
    assert "mask value 9 (1536 pixels)" in capsys.readouterr().out
    (finding,) = json.loads(out.read_text())["findings"]
    assert finding["file"] == str(root / "truth" / "03.png")


def test_stats(config, root, tmp_path, monkeypatch, capsys):
    out = tmp_path / "stats.json"
    assert main(["stats", config, f"--json={out}", "--split=val", "--beta=0.9"]) == 0
    content = json.loads(out.read_text())
    assert (content["images"], sum(content["pixels"])) == (1, 32 * 48)
    said = capsys.readouterr().out
    assert "val: 1 images" in said and said.endswith(f"picture: {tmp_path / 'stats.png'}\n")
    assert len(list((root / ".seg_jax").glob("stats-*.json"))) == 1
    with Image.open(tmp_path / "stats.png") as picture:
        assert picture.format == "PNG"
    drawn = []
    monkeypatch.setattr(viz, "distribution", lambda shares, table: drawn.append((shares, table.names)) or b"")
    monkeypatch.chdir(tmp_path)
    assert main(["stats", config, "--split=val"]) == 0
    total = sum(content["pixels"])
    assert drawn == [({"val": [n / total for n in content["pixels"]]}, ("background", "foreground"))]
    assert (tmp_path / "my_config_stats.png").exists()


def test_prepare(config, tmp_path, capsys):
    out = tmp_path / "small"
    command = ["prepare", config, "--config.data.size=(16, 24)", "--to=folder", f"--out={out}", "--photos=png"]
    for _ in range(2):  # the second one finds it whole
        assert main(command) == 0
        assert f"{out}: 11 of train, 1 of val; 25 files" in capsys.readouterr().out
    assert (out / MANIFEST).is_file()
    assert main(["lint", config, "--config.data.images={split}", "--config.data.masks={split}annot",
                 f"--config.data.dir={out}", f"--config.data.labels={out}/class_names.json",
                 "--config.data.val_share=0.0"]) == 0  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: .*See python -m seg_jax.data --help"),
        (["lnit"], r"invalid choice: 'lnit'"),
        (["lint"], r"--config is missing"),
        (["lint", "--config=nowhere.py"], r"nowhere.py"),
        (["lint", "{config}", "more"], r"unknown argument 'more'"),
        (["lint", "{config}", "--what=1"], r"Unknown command line flag 'what'"),
        (["lint", "{config}", "--config.data.dirr=x"], r"dirr"),
        (["lint", "{config}", "--config.data.threads=many"], r"many"),
        (["lint", "{config}", "--config.data.threads=0"], r"config.data.threads = 0: this is at least 1"),
        (["lint", "{config}", "--config.data.source=foldr"], r"'foldr' is not one of.*'folder'\?"),
        (["lint", "{config}", "--config.data.dir=/nowhere"], r"'/nowhere' is not a directory"),
        (["lint", "{config}", "--json=/proc/no/file"], r"/proc/no"),
        (["lint", "{root}"], r"is a directory, which only `inspect` and `prepare` take"),
        (["inspect"], r"inspect needs the directory of a data set: python -m seg_jax.data inspect DIR"),
        (["inspect", "/nowhere"], r"/nowhere is not a directory"),
        (["inspect", "{root}", "{config}"], r"a directory or a configuration, not both"),
        (["inspect", "{root}", "--out={root}/x.txt"], r"a configuration is a Python file"),
        (["stats", "{config}", "--beta=1"], r"--beta=1.0: beta must be in \(0, 1\)"),
        (["stats", "{config}", "--beta=x"], r"argument --beta: invalid float value: 'x'.*stats --help"),
        (["prepare", "{config}"], r"required: --to, --out.*prepare --help"),
        (["prepare", "{config}", "--to=zip", "--out=x"], r"invalid choice: 'zip'"),
        (["prepare", "{config}", "--to=folder", "--out={root}"], r"was not written by this command"),
    ],
)
def test_wrong_use_is_one_line(config, root, capsys, arguments, message):
    capsys.readouterr()
    given = [argument.replace("{config}", config).replace("{root}", str(root)) for argument in arguments]
    assert main(given) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(message, error), error


def test_broken_configurations(tmp_path, capsys):
    for content in ("x = (", "import nothing_like_this", "def get_config():\n    return 1 / 0", "x = 1"):
        (tmp_path / "broken.py").write_text(content)
        assert main(["lint", f"--config={tmp_path / 'broken.py'}"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")


def test_as_a_program(root, tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "seg_jax.data"]
    done = subprocess.run([*command, "--help"], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "inspect" in done.stdout) == (0, True)
    command += ["lint", "--config=configs/camvid_unet.py", f"--config.data.dir={root}"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "is not a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_documented_flags_exist():
    text = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and "--config.data.source=" in line]
    sources = set()
    for row in rows:
        config = configuration(["--config=configs/default.py", *shlex.split(row.split("`")[-2].replace("`", ""))])
        sources.add(config.data.source)
    assert sources == set(data.SOURCES) - {"python"}  # which no command line has
    for scheme in stats.SCHEMES:
        assert f"| `{scheme}` |" in text


def test_a_class_among_what_is_ignored_fails_inspect(root, tmp_path, capsys):
    """Three names, of which one has no value in the masks, where 255 is ignored."""
    for i, path in enumerate(sorted((root / "truth").iterdir())):
        values = np.asarray(Image.open(path)) // 255
        values[:4] = 255 if i % 2 else 0
        Image.fromarray(values).save(path)
    (root / "class_names.json").write_text(json.dumps(["background", "lesion", "scar"]))
    assert main(["inspect", str(root), f"--out={tmp_path / 'my_config.py'}"]) == 1
    shown = capsys.readouterr().out
    assert re.search(r"error: no split has a pixel of 'scar', while 6\.\d% of the pixels are ignored \(255\)", shown)


def polygons(root, *, photos=12, bad=()):
    """Photographs of two sizes in labelme's layout; those in `bad` have an annotation that nobody can draw."""
    rng = np.random.default_rng(0)
    for i in range(photos):
        height, width = (32, 48) if i % 2 else (40, 40)
        path = root / f"{i:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
        points = [[0, 16], [width, 16], [width, 24]] + [[0, 24]] * (i not in bad)
        points = points[:2] if i in bad else points
        shape = {"label": "road", "points": points, "shape_type": "polygon"}
        path.with_suffix(".json").write_text(json.dumps({"shapes": [shape], "imagePath": path.name}))
    return root


def test_prepare_a_directory_of_polygons(tmp_path, capsys):
    out = tmp_path / "written"
    command = ["prepare", str(polygons(tmp_path / "mine")), "--to=folder", f"--out={out}"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "labelme (12)" in shown and "11 of train, 1 of val" in shown
    assert f"train with python -m seg_jax.main --config={out}/written.py --workdir=runs/written" in shown
    config = configuration([f"--config={out}/written.py"])
    program.check(config, devices=1)
    assert (config.data.source, config.data.size) == ("folder", (32, 32))
    assert {p.name for p in out.iterdir()} - {"__pycache__"} == {
        "class_names.json", MANIFEST, "train", "trainannot", "val", "valannot", "written.py",
    }  # fmt: skip
    for photo in (out / "train").iterdir():
        assert photo.read_bytes() == (tmp_path / "mine" / photo.name).read_bytes()
        mask = np.asarray(Image.open(out / "trainannot" / f"{photo.stem}.png"))
        expected = np.zeros(mask.shape, np.uint8)
        expected[16:24] = 1
        np.testing.assert_array_equal(mask, expected)
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert main(command) == 0  # it is there already
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == written


def test_prepare_keeps_a_configuration_that_is_there(tmp_path, capsys):
    out = tmp_path / "written"
    command = ["prepare", str(polygons(tmp_path / "mine")), "--to=folder", f"--out={out}"]
    assert main(command) == 0
    assert "stays as it is" not in capsys.readouterr().out
    edited = (out / "written.py").read_text().replace("return c", "c.optim.lr = 0.5\n    return c")
    (out / "written.py").write_text(edited)
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f"{out}/written.py is there already and stays as it is; remove it and run the command again" in said
    assert (out / "written.py").read_text() == edited
    (out / "written.py").unlink()
    (out / "trainannot" / "00.png").unlink()
    assert main(command) == 0
    assert configuration([f"--config={out}/written.py"]).optim.lr != 0.5
    assert not [name for name in json.loads((out / MANIFEST).read_text())["files"] if name.endswith(".py")]


def test_no_configuration_without_a_plan_is_left(tmp_path, monkeypatch):
    out = tmp_path / "written"
    command = ["prepare", str(polygons(tmp_path / "mine")), "--to=folder", f"--out={out}"]
    with monkeypatch.context() as patch:
        patch.setattr(plan, "device", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(command)
    assert (out / MANIFEST).is_file() and not list(out.rglob("*.py")) and not list(out.glob(".*"))
    assert main(command) == 0
    assert configuration([f"--config={out}/written.py"]).model.encoder.weights == "imagenet"


def test_prepare_names_bad_annotations_or_counts_them(tmp_path, capsys):
    root, out = polygons(tmp_path / "mine", bad=(3,)), tmp_path / "written"
    command = ["prepare", str(root), "--to=folder", f"--out={out}"]
    assert main(command) == 1
    shown = capsys.readouterr()
    assert f"{root}/03.json: shapes[0] (road): a polygon has 2 different points, and needs three" in shown.err
    assert main([*command, "--config.data.skip_bad=True"]) == 0
    assert "1 examples are left out; manifest.json names each with the reason" in capsys.readouterr().out
    assert main([*command, "--config.data.skip_bad=True", "--photos=original", "--config.data.size=(16, 16)"]) == 1
    assert "--photos=original keeps the files of photographs" in capsys.readouterr().err
