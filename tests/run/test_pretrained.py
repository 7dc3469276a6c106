"""What weights decide in a configuration, and runs as the source of weights."""

import json
import logging

import jax
import numpy as np
import pytest

from seg_jax import sharding
from seg_jax.config import ConfigError, to_json
from seg_jax.models import WeightsError
from seg_jax.run import pretrained, program
from seg_jax.train.loop import train_and_evaluate
from tests.models import parity
from tests.runs import OF_FOLDER, write_folder

MOBILENET = {"model.encoder.name": "mobilenetv2", "model.encoder.alpha": 0.35, "model.encoder.depth": 3}
HALVES = {"data.mean": (0.5, 0.5, 0.5), "data.std": (0.5, 0.5, 0.5)}


@pytest.fixture
def keras_weights(tmp_path):
    """A file of MobileNetV2 0.35 as Keras writes it."""
    return parity.keras_files(parity.keras_network("MobileNetV2", (32, 32), alpha=0.35), tmp_path)["legacy"]


def decided(config):
    fields = (config.model.encoder.style, config.model.encoder.output_stride, config.data.mean, config.data.std)
    assert not any(value == left_open for value, left_open in zip(fields, pretrained.OPEN.values(), strict=True))
    return fields


# ----- what is left open


@pytest.mark.parametrize(("name", "stride"), [("unet", 32), ("pspnet", 8), ("deeplabv3plus", 16)])
def test_without_weights_the_architecture_decides(tiny_config, name, stride):
    config = tiny_config({"model.name": name, "model.encoder.name": "resnet18"})
    mean, std = pretrained.IMAGENET.values()
    assert decided(pretrained.resolve(config)) == ("torch", stride, mean, std)
    assert config.model.encoder.style == "auto"  # what was passed in is left alone


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_weights_decide_arithmetic_and_normalisation(tiny_config, keras_weights):
    config = tiny_config({**MOBILENET, "model.encoder.weights": str(keras_weights)})
    assert decided(pretrained.resolve(config)) == ("keras", 32, *HALVES.values())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
def test_given_values_are_kept_and_complained_about(tiny_config, keras_weights, caplog):
    given = {"model.encoder.style": "torch", "model.encoder.output_stride": 8, "data.mean": (0.4, 0.4, 0.4)}
    config = tiny_config({**MOBILENET, **given, "model.encoder.weights": str(keras_weights)})
    with caplog.at_level(logging.WARNING):
        assert decided(pretrained.resolve(config)) == ("torch", 8, (0.4, 0.4, 0.4), HALVES["data.std"])
    assert "config.model.encoder.style = torch, but the weights were trained with keras" in caplog.text
    assert "config.data.mean = (0.4, 0.4, 0.4), but the weights were trained with (0.5, 0.5, 0.5)" in caplog.text
    assert len(caplog.records) == 2  # an output stride belongs to no weights


def test_a_resumed_run_needs_no_weights(tiny_config, tmp_path):
    config = tiny_config({**MOBILENET, "model.encoder.weights": str(tmp_path / "gone.h5")})
    recorded = tiny_config({**MOBILENET, **HALVES, "model.encoder.style": "keras", "model.encoder.output_stride": 8})
    assert decided(pretrained.resolve(config, recorded)) == ("keras", 8, *HALVES.values())
    with pytest.raises(WeightsError, match=r"gone\.h5"):
        pretrained.resolve(config)


def test_two_sources_are_one_too_many(tiny_config):
    config = tiny_config({"model.weights": "runs/a", "model.encoder.weights": "b.h5"})
    with pytest.raises(ConfigError, match=r"model\.weights = 'runs/a' and .*'b\.h5': .*Leave one of them empty"):
        pretrained.resolve(config)


# ----- a run as the source


@pytest.fixture(scope="module")
def trained(tiny_config, tmp_path_factory):
    """(directory, program, state) of a run that was trained for two steps on three classes."""
    place = tmp_path_factory.mktemp("trained")
    fields = {"data.dir": str(write_folder(place / "data")), "train.steps": 2, "data.mean": (0.4,) * 3}
    config = tiny_config({**OF_FOLDER, **fields})
    return place / "run", config, train_and_evaluate(config, place / "run")


def begin(config, classes=3):
    """The first state of a run, on the host."""
    config = pretrained.resolve(config)
    functions = program.Functions(config, classes=classes, mesh=sharding.make_mesh())
    return config, jax.device_get(functions.init())


def assert_equal(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    jax.tree.map(np.testing.assert_array_equal, one, two)


def differ(one, two):
    return any(jax.tree.leaves(jax.tree.map(lambda a, b: (a != b).any(), one, two)))


def test_a_whole_run_is_taken_over(tiny_config, trained):
    run, _, state = trained
    config, ours = begin(tiny_config({"model.weights": str(run)}))
    assert_equal((ours.params, ours.model_state), jax.device_get((state.params, state.model_state)))
    assert config.data.mean == (0.4,) * 3  # images are normalised as they were there
    assert int(ours.step) == 0


def test_the_encoder_of_a_run_serves_another_network(tiny_config, trained):
    run, _, state = trained
    options = {"model.encoder.weights": str(run), "model.name": "fpn"}
    _, ours = begin(tiny_config(options), classes=5)
    theirs = jax.device_get((state.params["encoder"], state.model_state["batch_stats"]["encoder"]))
    assert_equal((ours.params["encoder"], ours.model_state["batch_stats"]["encoder"]), theirs)


def test_the_encoder_alone_leaves_the_decoder_random(tiny_config, trained):
    run, _, state = trained
    _, ours = begin(tiny_config({"model.encoder.weights": str(run)}))
    _, fresh = begin(tiny_config())
    assert_equal(ours.params["decoder"], fresh.params["decoder"])
    assert differ(ours.params["decoder"], jax.device_get(state.params["decoder"]))
    assert differ(ours.params["encoder"], fresh.params["encoder"])


def test_other_classes_leave_the_head_random(tiny_config, trained, caplog):
    run, _, state = trained
    with caplog.at_level(logging.INFO):
        _, ours = begin(tiny_config({"model.weights": str(run)}), classes=7)
    _, fresh = begin(tiny_config(), classes=7)
    theirs = jax.device_get(state.params)
    taken, random = [], []
    for path, array in jax.tree_util.tree_leaves_with_path(ours.params):
        there, new = theirs, fresh.params
        for key in path:
            there, new = there[key.key], new[key.key]
        same = there.shape == array.shape
        np.testing.assert_array_equal(array, there if same else new)
        (taken if same else random).append(jax.tree_util.keystr(path))
    assert len(taken) > 5 and len(random) == 2 and all("head" in name for name in random)
    assert "(3,) there, (7,) here; starts from random values" in caplog.text


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({"model.encoder.width": 8}, "config.model.encoder.width: now 8, there 4"),
        ({"model.encoder.name": "resnet18"}, "config.model.encoder.name: now 'resnet18', there 'plain'"),
    ],
)
@pytest.mark.parametrize("weights", ["model.weights", "model.encoder.weights"])
def test_runs_of_other_encoders_are_refused(tiny_config, trained, fields, row, weights):
    with pytest.raises(WeightsError, match="was trained with another network") as error:
        begin(tiny_config({weights: str(trained[0]), **fields}))
    assert row in str(error.value)


def test_another_architecture_takes_the_encoder_only(tiny_config, trained):
    with pytest.raises(WeightsError, match=r"config\.model\.name: now 'fpn', there 'unet'"):
        begin(tiny_config({"model.weights": str(trained[0]), "model.name": "fpn"}))


def test_a_directory_that_is_no_run_is_refused(tiny_config, tmp_path):
    for content in (None, "{"):
        if content:
            (tmp_path / "config.json").write_text(content)
        with pytest.raises((ConfigError, WeightsError), match=r"config\.json"):
            begin(tiny_config({"model.weights": str(tmp_path)}))


def test_a_run_without_a_checkpoint_is_refused(tiny_config, tmp_path):
    (tmp_path / "config.json").write_text(to_json(pretrained.resolve(tiny_config())))
    with pytest.raises(Exception, match="checkpoint"):
        begin(tiny_config({"model.weights": str(tmp_path)}))


def test_prediction_uses_what_the_run_recorded(trained):
    run, _, _ = trained
    recorded = json.loads((run / "config.json").read_text())
    assert recorded["data"]["mean"] == [0.4] * 3
    assert recorded["model"]["encoder"]["style"] == "torch"
    assert recorded["data"]["std"] == list(pretrained.IMAGENET["data.std"])
