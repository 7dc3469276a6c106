"""Networks in the package, with one that these tests put there: size, certificate, cards, and every program by name."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from benchmarks import cards
from benchmarks import shipped as making
from seg_jax import shipped
from seg_jax.models import __main__ as models_command
from seg_jax.predict import __main__ as predict_command
from seg_jax.predict.artefacts import ArtefactError
from seg_jax.predict.predictor import Predictor
from seg_jax.runtime import seal

LICENCES = {"street": "for research", "pets": "CC BY-SA 4.0"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of the package's networks, results/ and its page, all of them empty."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "shipped")
    monkeypatch.setattr(cards, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(cards, "PAGES", (tmp_path / "results.md",))
    (tmp_path / "results.md").write_text("<!-- table: cards -->\n<!-- end of table -->\n")
    for folder in ("shipped", "results"):
        (tmp_path / folder).mkdir()
    return tmp_path


@pytest.fixture
def street(package, trained_run, monkeypatch):
    """The package with `street`: the session's small network of computed street scenes."""
    monkeypatch.setitem(
        making.NETWORKS, "street", making.Network("synthetic_unet", "Scenes", 0.0, "- CamVid, for research")
    )
    making.keep("street", trained_run, ["--config.train.steps=40"])
    return package


def check(name, folder, result):
    """What holds for a network in the package."""
    path = folder / f"{name}.safetensors"
    assert path.stat().st_size <= making.MOST_BYTES and seal.intact(path)
    parity = json.loads((folder / f"{path.name}.parity.json").read_text())
    assert parity["passed"] and parity["sha256"] == seal.digest(path) and parity["agreement"] > 0.995
    arrays = load(path.read_bytes())
    assert {a.dtype for n, a in arrays.items() if n.endswith("kernel")} == {np.dtype("float16")}
    assert all(np.isfinite(a).all() for a in arrays.values())
    card = (folder / f"{name}.md").read_text()
    assert card.splitlines()[0].endswith(f"val mIoU {result['scores']['miou']:.3f}")
    assert f"after {result['step']:,d} of" in card and LICENCES[name] in card
    assert f"python -m benchmarks.shipped {name} --data=DIR" in card
    assert all(each in card for each in result["classes"])


def test_those_in_the_package_are_sound():
    if not shipped.names():
        pytest.skip("there is no network in the package")
    for name in shipped.names():
        result = json.loads((cards.RESULTS / f"{name}.json").read_text())
        check(name, shipped.FOLDER, result)
        assert result["scores"]["miou"] >= making.NETWORKS[name].least
        for text in (b"/home/", b"/root/"):
            assert text not in shipped.find(name).read_bytes()[:200_000]


def test_a_network_gets_its_archive_and_its_cards(street, trained_run):
    result = json.loads((street / "results" / "street.json").read_text())
    check("street", street / "shipped", result)
    assert result["cost"]["steps"] == 40 and "| street |" in (street / "results.md").read_text()
    assert "--workdir=RUN --config.train.steps=40`" in (street / "shipped" / "street.md").read_text()
    assert str(trained_run).encode() not in (street / "shipped" / "street.safetensors").read_bytes()


@pytest.mark.parametrize("name", making.NETWORKS)
def test_every_card_has_the_licence_of_its_data(name):
    assert LICENCES[name] in making.NETWORKS[name].data and "Apache 2.0" in making.START


def test_what_is_not_good_or_too_large_is_not_kept(package, trained_run, monkeypatch, capsys):
    monkeypatch.setitem(making.NETWORKS, "street", making.Network("synthetic_unet", "Scenes", 0.99, ""))
    monkeypatch.setattr(making.subprocess, "run", lambda *_, **__: making.subprocess.CompletedProcess([], 0))
    arguments = ["street", "--data=DIR", f"--workdir={trained_run}"]
    assert making.main(arguments) == 1 and "less than 0.99. Train it longer" in capsys.readouterr().err
    monkeypatch.setitem(making.NETWORKS, "street", making.Network("synthetic_unet", "Scenes", 0.0, ""))
    monkeypatch.setattr(making, "MOST_BYTES", 1000)
    assert making.main(arguments) == 1 and "more than 1,000. Train a smaller" in capsys.readouterr().err
    assert not list((package / "shipped").iterdir()) and not list((package / "results").iterdir())


def test_the_training_is_that_of_the_recipe_and_may_fail(package, trained_run, monkeypatch, capsys):
    called = []

    def run(command, **_):
        called.append(command)
        return making.subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(making.subprocess, "run", run)
    arguments = ["pets", "--data=PETS", f"--workdir={trained_run}", "--config.seed=3"]
    assert making.main(arguments) == 1 and "did not end. Run the same command to resume" in capsys.readouterr().err
    ((_, _, _, *flags),) = called
    recipe = ["--config=configs/pets_cpu.py", f"--workdir={trained_run}", "--config.data.dir=PETS", "--config.seed=3"]
    assert flags == recipe
    with pytest.raises(SystemExit):
        making.main(["pets", "--data=PETS", "--workdir=x", "--seed=3"])


def test_a_name_predicts_a_photograph(street, trained_run):
    assert shipped.names() == ("street",)
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    named, run = Predictor.load("street"), Predictor.load(trained_run)
    assert named.table.names == run.table.names
    assert (named(image).label == run(image).label).mean() > 0.99


def test_a_path_of_that_name_is_another(street, monkeypatch):
    monkeypatch.chdir(street)
    for path in (Path("street"), "./street"):
        with pytest.raises(ArtefactError, match="does not exist"):
            Predictor.load(path)
    with pytest.raises(ArtefactError, match=r"a file of seg_jax\.export, or one of: street\."):
        Predictor.load("strete")
    (street / "shipped" / "street.safetensors").unlink()
    with pytest.raises(ArtefactError, match=r"Name a run directory or a file of seg_jax\.export\.$"):
        Predictor.load("street")


def test_the_commands_know_the_names(street, capsys):
    Image.fromarray(np.zeros((96, 128, 3), np.uint8)).save(street / "a.png")
    assert predict_command.main(["street", str(street / "a.png"), f"--out={street / 'out'}", "--write=mask"]) == 0
    assert np.asarray(Image.open(street / "out" / "a_mask.png")).shape == (96, 128)
    capsys.readouterr()
    assert models_command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"  {'street':<18}{shipped.summary('street')}" and "Scenes, 8 classes, val mIoU" in lines[-1]
