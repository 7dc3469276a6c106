"""What weights decide in a configuration, and runs as the source of weights."""

import json
import logging
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from seg_jax import models
from seg_jax.config import ConfigError, default, defaults, flatten, from_json, to_json, with_fields
from seg_jax.evaluate.stored import evaluate_checkpoint
from seg_jax.models import WeightsError
from seg_jax.run import heads, pretrained, program
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import sharding
from seg_jax.train.loop import train_and_evaluate
from tests.models import parity
from tests.runs import CLASSES, OF_FOLDER, write_folder

MOBILENET = {"model.encoder.name": "mobilenetv2", "model.encoder.alpha": 0.35, "model.encoder.depth": 3}
HALVES = {"data.mean": (0.5, 0.5, 0.5), "data.std": (0.5, 0.5, 0.5)}


@pytest.fixture
def keras_weights(tmp_path):
    """A file of MobileNetV2 0.35 as Keras writes it."""
    return parity.keras_files(parity.keras_network("MobileNetV2", (32, 32), alpha=0.35), tmp_path)["legacy"]


def decided(config):
    fields = (config.model.encoder.style, config.model.encoder.output_stride, config.data.mean, config.data.std)
    named = {field: value for field, value in pretrained.OPEN.items() if field != "model.channels"}  # FCN's alone
    assert not any(value == left_open for value, left_open in zip(fields, named.values(), strict=True))
    return fields


# ----- what is left open


@pytest.mark.parametrize(("name", "stride"), [("unet", 32), ("pspnet", 8), ("deeplabv3plus", 16)])
def test_without_weights_the_architecture_decides(tiny_config, name, stride):
    config = tiny_config({"model.name": name, "model.encoder.name": "resnet18"})
    mean, std = models.IMAGENET
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
    assert decided(pretrained.as_recorded(config, recorded)) == ("keras", 8, *HALVES.values())
    with pytest.raises(WeightsError, match=r"gone\.h5"):
        pretrained.resolve(config)


def test_two_sources_are_one_too_many(tiny_config):
    config = tiny_config({"model.weights": "runs/a", "model.encoder.weights": "b.h5"})
    with pytest.raises(ConfigError, match=r"model\.weights = 'runs/a' and .*'b\.h5': .*Leave one of them empty"):
        pretrained.resolve(config)


# ----- the width of FCN's hidden layers


@pytest.mark.parametrize(("encoder", "alpha", "channels"), [("vgg16", 1.0, 4096), ("mobilenetv2", 1.0, 320)])
def test_a_new_fcn_is_as_wide_as_its_encoder_allows(tiny_config, encoder, alpha, channels):
    config = {"model.name": "fcn8s", "model.encoder.name": encoder, "model.encoder.alpha": alpha}
    config |= {"model.encoder.depth": 0, "model.channels": 0}
    assert pretrained.resolve(tiny_config(config)).model.channels == channels
    assert pretrained.resolve(tiny_config({**config, "model.channels": 7})).model.channels == 7
    assert pretrained.resolve(tiny_config({**config, "model.name": "fpn"})).model.channels == 0


@pytest.mark.parametrize("recorded", [0, 320])
def test_a_recorded_fcn_keeps_its_width(tiny_config, recorded):
    # 0 is what runs recorded when 4096 was the width on every encoder: their checkpoints have 4096 channels.
    fcn = {"model.name": "fcn8s", "model.encoder.name": "mobilenetv2", "model.encoder.depth": 0, "model.channels": 0}
    then = from_json(to_json(tiny_config({**fcn, "model.channels": recorded})))
    now = pretrained.as_recorded(tiny_config(fcn), then)
    assert now.model.channels == recorded
    shapes = jax.eval_shape(lambda: models.init(models.build(now, classes=2), jax.random.key(0), (1, 32, 32, 3)))[0]
    assert shapes["decoder"]["fc7"]["conv"]["kernel"].shape == (1, 1, *2 * (recorded or 4096,))


# ----- a folder of save_pretrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of segmentation_models.pytorch's Unet on MobileNetV2, five classes; its values are zeros."""
    name = "smp_unet_mobilenet_v2"
    return parity.pretrained_folder(
        tmp_path_factory.mktemp("pretrained") / "unet", name, parity.smp_document(name), hollow=True
    )


def copied(folder, tmp_path, **changes):
    """The same folder with other entries in config.json."""
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return tmp_path / "copy"


def usual_with(fields):
    return with_fields(default.get_config(), fields)


SAID = {
    "model.name": "unet",
    "model.decoder_channels": (256, 128, 64, 32, 16),
    "model.upsampling": "nearest",
    "model.head_kernel": 3,
    "model.align_corners": True,
    "model.encoder.name": "mobilenetv2",
    "model.encoder.depth": 5,
    "model.encoder.style": "smp",
    "model.encoder.output_stride": 32,
    "data.mean": (0.485, 0.456, 0.406),
    "data.std": (0.229, 0.224, 0.225),
}


def test_a_folder_decides_what_is_left_open(folder, caplog):
    caplog.set_level(logging.INFO)
    config = pretrained.resolve(usual_with({"model.weights": str(folder)}))
    assert SAID.items() <= flatten(config).items()
    assert "Unet of segmentation_models.pytorch" in caplog.text and "model.head_kernel=3" in caplog.text
    # What stands in the configuration already may be the same.
    assert pretrained.resolve(usual_with({**SAID, "model.weights": str(folder)})) == config


def test_a_resumed_run_does_not_need_the_folder(folder):
    recorded = from_json(to_json(pretrained.resolve(usual_with({"model.weights": str(folder)}))))
    gone = usual_with({"model.weights": str(folder) + "-gone"})
    assert SAID.items() <= flatten(pretrained.as_recorded(gone, recorded)).items()
    # A file decides no network, so that a network of other fields is not taken for the same.
    file = usual_with({"model.weights": str(folder / "gone.safetensors")})
    assert pretrained.as_recorded(file, recorded).model.encoder.name == "plain"


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({"model.name": "fpn"}, "config.model.name: now 'fpn', there 'unet'"),
        ({"model.encoder.name": "resnet34"}, "config.model.encoder.name: now 'resnet34', there 'mobilenetv2'"),
        ({"model.decoder_channels": (8, 4)}, "now (8, 4), there (256, 128, 64, 32, 16)"),
        ({"model.upsampling": "bilinear"}, "config.model.upsampling: now 'bilinear', there 'nearest'"),
        ({"model.encoder.depth": 3}, "config.model.encoder.depth: now 3, there 5"),
    ],
)
def test_what_contradicts_a_folder_is_refused(folder, fields, row):
    with pytest.raises(WeightsError, match="which is another network") as error:
        pretrained.resolve(usual_with({"model.weights": str(folder), **fields}))
    assert row in str(error.value)
    # The cure leads to the folder's network.
    flags = dict(re.findall(r"--config\.([\w.]+)=(\([^)]*\)|\w+)", str(error.value)))
    assert flags.keys() == fields.keys()
    cured = {field: SAID[field] for field in flags if str(SAID[field]) == flags[field]}
    assert cured.keys() == fields.keys()
    pretrained.resolve(usual_with({"model.weights": str(folder), **fields, **cured}))


def test_arithmetic_and_normalisation_beside_a_folder_are_kept_and_complained_about(folder, caplog):
    fields = {"model.encoder.output_stride": 16, "data.mean": (0.4,) * 3}
    config = pretrained.resolve(usual_with({"model.weights": str(folder), **fields}))
    assert fields.items() <= flatten(config).items()
    assert "config.data.mean = (0.4, 0.4, 0.4), but the weights were trained with (0.485" in caplog.text
    assert "config.model.encoder.output_stride = 16, but the weights were trained with 32" in caplog.text


def test_a_document_of_other_classes_than_the_head_is_refused(folder, tmp_path):
    with pytest.raises(WeightsError, match=r"config\.json has 4 classes, the head of its weights 5\. They are not"):
        pretrained.resolve(usual_with({"model.weights": str(copied(folder, tmp_path, classes=4))}))


def test_a_document_of_another_network_than_the_weights_is_refused(folder, tmp_path):
    config = usual_with({"model.weights": str(copied(folder, tmp_path, decoder_channels=[128, 64, 32, 16, 8]))})
    config = pretrained.resolve(config)
    model = models.build(config, classes=5)
    fresh = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))
    with pytest.raises(WeightsError, match=r"of another shape \(51\): decoder\.blocks\.0\.conv1\.1\.running_mean"):
        pretrained.start(config, model, *fresh)


def test_the_encoder_of_a_folder_serves_another_network(folder):
    fields = {"model.encoder.weights": str(folder), "model.name": "fpn"}
    config = pretrained.resolve(usual_with(fields))
    assert (config.model.name, config.model.encoder.name) == ("fpn", "mobilenetv2")
    # What their decoder was like, and how deep it looked into the encoder, is of no concern.
    assert (config.model.head_kernel, config.model.encoder.depth) == (1, 0)
    with pytest.raises(WeightsError, match=r"model\.encoder\.name: now 'resnet18', there 'mobilenetv2'"):
        pretrained.resolve(usual_with({**fields, "model.encoder.name": "resnet18"}))


def test_a_folder_with_an_encoder_alone_is_no_whole_network(tmp_path):
    document = {"architecture": "resnet18", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    folder = parity.pretrained_folder(tmp_path / "timm", "resnet18", document, hollow=True)
    with pytest.raises(WeightsError, match=r"resnet18 of timm, an encoder alone\. Pass it as --config\.model\.encoder"):
        pretrained.resolve(usual_with({"model.weights": str(folder)}))
    config = pretrained.resolve(usual_with({"model.encoder.weights": str(folder)}))
    assert (config.model.encoder.name, config.data.mean, config.data.std) == ("resnet18", *HALVES.values())


@pytest.mark.slow
def test_a_run_starts_from_a_folder_and_resumes_without_it(tiny_config, tmp_path):
    name = "smp_pspnet_resnet18"  # uses three stages of its encoder, so that it compiles quickly
    source = parity.pretrained_folder(tmp_path / "pspnet", name, parity.smp_document(name))
    usual = {field: defaults()[field] for field in ("model.encoder.depth", "model.encoder.width", "model.aspp_rates")}
    fields = {"data.dir": str(write_folder(tmp_path / "data")), "train.steps": 2, "finetune.freeze": True}
    config = tiny_config({**OF_FOLDER, **usual, **fields, "model.weights": str(source)})
    train_and_evaluate(config, tmp_path / "run")
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (recorded["model"]["name"], recorded["model"]["head_kernel"]) == ("pspnet", 3)
    assert (recorded["model"]["encoder"]["name"], recorded["model"]["encoder"]["depth"]) == ("resnet18", 3)
    shutil.rmtree(source)
    assert int(train_and_evaluate(config, tmp_path / "run").step) == 2


# ----- a run as the source


@pytest.fixture(scope="module")
def trained(tiny_config, tmp_path_factory):
    """(directory, program, state) of a run that was trained for two steps on three classes."""
    place = tmp_path_factory.mktemp("trained")
    fields = {"data.dir": str(write_folder(place / "data")), "train.steps": 2, "data.mean": (0.4,) * 3}
    config = tiny_config({**OF_FOLDER, **fields})
    return place / "run", config, train_and_evaluate(config, place / "run")


def begin(config, classes=3, names=()):
    """The first state of a run, on the host."""
    config = pretrained.resolve(config)
    functions = program.Functions(config, classes=len(names) or classes, mesh=sharding.make_mesh(), names=names)
    return config, jax.device_get(functions.init())


def assert_equal(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    jax.tree.map(np.testing.assert_array_equal, one, two)


def differ(one, two):
    return any(jax.tree.leaves(jax.tree.map(lambda a, b: (a != b).any(), one, two)))


@pytest.mark.slow
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


def test_rows_of_the_head_are_taken_by_name(tiny_config, trained, caplog):
    run, _, state = trained
    names = RunDirectory(run).table().names
    assert len(names) == 3
    config = tiny_config({"model.weights": str(run)})
    _, fresh = begin(tiny_config())
    with caplog.at_level(logging.INFO):
        _, ours = begin(config, names=("tram", names[2], names[0]))
    for name in ("kernel", "bias"):
        there, here = (s.params["decoder"]["head"][name] for s in (jax.device_get(state), ours))
        np.testing.assert_array_equal(here[..., 1:], there[..., [2, 0]])
        np.testing.assert_array_equal(here[..., 0], fresh.params["decoder"]["head"][name][..., 0])
    assert f"rows of 2 classes are taken by name ({names[2]}, {names[0]}), 1 start anew (tram)" in caplog.text
    _, same = begin(config, names=names)
    assert_equal(same.params, jax.device_get(state.params))
    _, other = begin(config, names=("a", "b", "c"))  # not one class of the run
    assert_equal(other.params["decoder"]["head"], fresh.params["decoder"]["head"])


@pytest.mark.usefixtures("undrawn")
def test_a_run_is_evaluated_on_its_classes_in_another_order(tiny_config, trained, tmp_path):
    run, config, _ = trained
    other = tmp_path / "data"
    shutil.copytree(config.data.dir, other)
    (other / "class_names.json").write_text(json.dumps([CLASSES[1], CLASSES[2], CLASSES[0]]))
    for path in other.glob("*annot/*.png"):
        Image.fromarray(np.array([2, 0, 1], np.uint8)[np.asarray(Image.open(path))]).save(path)
    one = evaluate_checkpoint(config, run, "last")
    two = evaluate_checkpoint(with_fields(config, {"data.dir": str(other)}), run, "last")
    np.testing.assert_array_equal(one.confusion, two.confusion)
    assert one.confusion.sum() > 1000


@pytest.mark.parametrize(
    ("fields", "axes"),
    [
        ({}, {"params/decoder/head/bias": (0,), "params/decoder/head/kernel": (3,)}),
        (
            {"model.name": "fcn16s", "model.channels": 8},
            {
                "params/decoder/head/bias": (0,),
                "params/decoder/head/kernel": (3,),
                "params/decoder/skip1_head/bias": (0,),
                "params/decoder/skip1_head/kernel": (1,),
                "params/decoder/up1_head/kernel": (2, 3),  # from each class to each
            },
        ),
    ],
)
def test_arrays_with_a_row_for_each_class(tiny_config, fields, axes):
    config = pretrained.resolve(tiny_config(fields))
    rows = heads.match(config, ("a", "b", "c"), ("c", "x", "b"))
    assert rows.axes == axes
    assert (rows.ours.tolist(), rows.theirs.tolist()) == ([1, 2], [2, 0])
    there = np.arange(9.0).reshape(1, 1, 3, 3)
    for name in [name for name, found in axes.items() if found == (2, 3)]:
        got = rows.take(name, np.full((1, 1, 3, 3), -1.0), there)
        np.testing.assert_array_equal(got[0, 0], [[-1, -1, -1], [-1, 8, 6], [-1, 2, 0]])
    assert rows.take("params/decoder/head/bias", np.zeros(3), np.zeros(4)) is None


def test_a_binary_head_serves_the_same_two_classes_only(tiny_config):
    config = pretrained.resolve(tiny_config({"loss.head": "binary"}))
    one, theirs = np.zeros(1), np.ones(1)
    same = heads.match(config, ("dry", "wet"), ("dry", "wet"))
    np.testing.assert_array_equal(same.take("params/decoder/head/bias", one, theirs), theirs)
    swapped = heads.match(config, ("wet", "dry"), ("dry", "wet"))
    assert swapped.take("params/decoder/head/bias", one, theirs) is None


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
    assert recorded["data"]["std"] == list(models.IMAGENET[1])
