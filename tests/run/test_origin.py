"""Archives as the start of a training: what they decide, that they are the run they came from, and damaged ones."""

import json

import jax
import numpy as np
import pytest

from seg_jax import shipped
from seg_jax.config import default, flatten, from_json, to_json, with_fields
from seg_jax.export import FORMATS, safetensors
from seg_jax.export.network import Network
from seg_jax.models import WeightsError
from seg_jax.run import origin, pretrained, program
from seg_jax.runtime import sharding
from seg_jax.train.loop import train_and_evaluate
from tests.runs import OF_FOLDER, write_folder


@pytest.fixture(scope="module")
def trained(tiny_config, tmp_path_factory):
    """(run directory, configuration) of a tiny U-Net after one step."""
    folder = tmp_path_factory.mktemp("origin")
    data = {"data.dir": str(write_folder(folder / "data")), "data.mean": (0.4,) * 3}
    config = tiny_config({**OF_FOLDER, **data, "train.steps": 1, "model.encoder.depth": 1})
    train_and_evaluate(config, folder / "run")
    return folder / "run", config


@pytest.fixture(scope="module")
def archive(trained):
    """The same as an archive."""
    path = trained[0].parent / "network.safetensors"
    FORMATS["safetensors"].write(Network.load(trained[0], full_precision=False), path)
    return path


def begin(config, names=()):
    """(resolved configuration, host state) as a new run begins."""
    config = pretrained.resolve(config)
    functions = program.Functions(config, classes=len(names) or 3, mesh=sharding.make_mesh(1), names=names)
    return config, jax.device_get(functions.init())


def new(config, fields):
    """A configuration that says nothing of the network but `fields`."""
    usual = {name: value for name, value in flatten(default.get_config()).items() if name.startswith("model.")}
    return with_fields(config, {**usual, "data.mean": (), **fields})


@pytest.mark.slow
@pytest.mark.parametrize("field", ["model.weights", "model.encoder.weights"])
def test_an_archive_starts_what_its_run_starts(trained, archive, field):
    run, config = trained
    one, ours = begin(new(config, {field: str(archive)}))
    other, theirs = begin(new(config, {field: str(run)}))
    jax.tree.map(np.testing.assert_array_equal, (ours.params, ours.model_state), (theirs.params, theirs.model_state))
    assert (one.model.encoder.depth, one.data.mean) == (1, (0.4,) * 3)
    differ = {name for name, value in flatten(one).items() if flatten(other)[name] != value}
    assert differ == {field}


def test_half_of_the_bytes_are_near_the_whole(trained, archive, tmp_path):
    _, config = trained
    path = tmp_path / "half.safetensors"
    FORMATS["safetensors"].write(safetensors.halved(Network.load(trained[0])), path)
    assert path.stat().st_size < archive.stat().st_size
    _, whole = begin(new(config, {"model.weights": str(archive)}))
    _, half = begin(new(config, {"model.weights": str(path)}))
    assert {leaf.dtype for leaf in jax.tree.leaves(half.params)} == {np.dtype("float32")}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), whole.params, half.params)


def test_rows_of_the_head_are_taken_by_name(trained, archive):
    names = origin.find(str(archive)).read()[1]
    assert len(names) == 3
    config = new(trained[1], {"model.weights": str(archive)})
    _, same = begin(config, names)
    _, ours = begin(config, (names[2], "tram", names[0]))
    head, there = (state.params["decoder"]["head"]["kernel"] for state in (ours, same))
    np.testing.assert_array_equal(head[..., [0, 2]], there[..., [2, 0]])
    assert (head[..., 1] != there[..., 1]).any()


def test_another_network_is_refused(trained, archive):
    with pytest.raises(WeightsError, match=r"trained with another network:\n.*model\.name: now 'fpn', there 'unet'"):
        begin(new(trained[1], {"model.weights": str(archive), "model.name": "fpn"}))
    _, state = begin(new(trained[1], {"model.encoder.weights": str(archive), "model.name": "fpn"}))
    assert "head" in state.params["decoder"]


def test_a_run_that_started_from_an_archive_resumes_by_the_same_flags(trained, archive):
    asked = new(trained[1], {"model.weights": str(archive)})
    recorded = from_json(to_json(pretrained.resolve(asked)))
    assert pretrained.as_recorded(asked, recorded) == recorded


def test_a_changed_archive_is_refused(trained, archive, tmp_path):
    content = bytearray(archive.read_bytes())
    content[-1] ^= 1
    (tmp_path / "changed.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"changed\.safetensors is not as it was exported.*Copy or export it again"):
        pretrained.resolve(new(trained[1], {"model.weights": str(tmp_path / "changed.safetensors")}))


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"config": {"model": {"name": 3}}})])
def test_an_archive_of_another_form_is_refused(trained, tmp_path, text):
    from safetensors.numpy import save

    path = tmp_path / "odd.safetensors"
    path.write_bytes(save({"params/x": np.zeros(1, np.float32)}, metadata={"metadata.json": text}))
    with pytest.raises(ValueError, match=r"odd\.safetensors"):
        pretrained.resolve(new(trained[1], {"model.weights": str(path)}))


def test_a_network_of_the_package_starts_a_training_by_its_name(trained, archive, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", archive.parent)
    one, ours = begin(new(trained[1], {"model.weights": "network"}))
    _, theirs = begin(new(trained[1], {"model.weights": str(archive)}))
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    asked = new(trained[1], {"model.weights": "network"})
    assert pretrained.as_recorded(asked, from_json(to_json(one))) == from_json(to_json(one))
    assert origin.find("imagenet") is None
