"""create_model: every architecture by its name, what its variables and logits are, and where its weights come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import seg_jax
from seg_jax import models
from seg_jax.config import ConfigError
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelError, LabelTable
from seg_jax.models import WeightsError

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def tiny():
    """(model, variables) of a small U-Net."""
    model = seg_jax.create_model(classes=("sky", "road", "car"), encoder_width=2, encoder_depth=1)
    return model, model.init(jax.random.key(0))


def photographs(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_every_architecture(name):
    model = seg_jax.create_model(name, encoder="resnet18", classes=3)

    def both(key, image):
        variables = model.init(key)
        return variables, model.apply(variables, image)

    image = jax.ShapeDtypeStruct((2, 48, 40, 3), np.uint8)
    variables, logits = jax.eval_shape(both, jax.random.key(0), image)
    assert (logits.shape, logits.dtype) == ((2, 48, 40, 3), np.float32)
    assert set(variables) == {"params", "batch_stats"} and set(variables["params"]) == {"encoder", "decoder"}
    assert not [path for path, _ in jax.tree.leaves_with_path(variables) if "aux" in jax.tree_util.keystr(path)]


def test_what_it_is(tiny):
    model, _ = tiny
    assert model.normalisation == IMAGENET and model.table.names == ("sky", "road", "car")
    assert seg_jax.create_model(classes=3).table.names == ("class 0", "class 1", "class 2")
    table = LabelTable(names=("a", "b"), ignore=(7,))
    assert seg_jax.create_model(classes=table).table is table
    assert (model.config.model.encoder.width, model.config.model.encoder.depth) == (2, 1)


def test_images_are_normalised_once(tiny):
    model, variables = tiny
    image = photographs(1, 6, 5, 3)
    by_hand = (image / 255 - np.asarray(IMAGENET[0])) / np.asarray(IMAGENET[1])
    np.testing.assert_allclose(model.normalise(image), by_hand, atol=1e-5)
    logits = model.apply(variables, image)
    assert (logits.shape, logits.dtype) == ((1, 6, 5, 3), jnp.float32)
    np.testing.assert_allclose(model.apply(variables, by_hand.astype(np.float32), normalised=True), logits, atol=1e-5)


def test_training_gives_the_statistics_too(tiny):
    model, variables = tiny
    image = photographs(2, 8, 8, 3)
    logits, state = model.apply(variables, image, train=True)
    assert set(state) == {"batch_stats"}
    assert jax.tree.structure(state["batch_stats"]) == jax.tree.structure(variables["batch_stats"])
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (state, variables["batch_stats"])), strict=True))
    assert not np.allclose(logits, model.apply(variables, image))  # the batch's statistics, not the running ones
    compiled = jax.jit(model.apply, static_argnames=("train", "normalised"))
    np.testing.assert_allclose(compiled(variables, image, train=True)[0], logits, atol=1e-4)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((1, 4, 4, 3), np.float32), r"shape \(1, 4, 4, 3\) and type float32: it must be uint8 .*normalised="),
        (np.zeros((4, 4, 3), np.uint8), r"shape \(4, 4, 3\) and type uint8: it must be uint8 \[batch"),
        (np.zeros((1, 4, 4, 1), np.uint8), r"shape \(1, 4, 4, 1\)"),
    ],
)
def test_other_images_are_refused(tiny, image, message):
    model, variables = tiny
    with pytest.raises(DataError, match=message):
        jax.jit(model.apply)(variables, image)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "unte"}, ConfigError, r"config.model.name = 'unte' is not one of: .* Did you mean 'unet'\?"),
        ({"encoder": "resnet43"}, ConfigError, r"config.model.encoder.name = 'resnet43' .* Did you mean 'resnet34'\?"),
        ({"nrom": "group"}, ConfigError, r"create_model has no option 'nrom'. Did you mean 'norm'\? Its options: ali"),
        ({"encoder_name": "x"}, ConfigError, "create_model has no option 'encoder_name'"),
        ({"norm": 3}, ConfigError, "config.model.norm = 3"),
        ({"dropout": 2.0}, ConfigError, r"config.model.dropout = 2.0: this is a probability below 1"),
        ({"classes": 1}, LabelError, "1 classes: a label table has 2 to 65535"),
        ({"classes": ("a", "a")}, LabelError, "class names repeat: a"),
        ({"weights": "nowhere.pth"}, WeightsError, "nowhere.pth"),
        ({"weights": "a", "encoder_weights": "b"}, ConfigError, "config.model.weights = 'a' and config.model.encoder."),
    ],
)
def test_what_is_wrong_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        seg_jax.create_model(**arguments)


@pytest.mark.parametrize("named", [True, False])
def test_weights_of_a_run(trained_run, named):
    """Without them classes, and the size of the encoder, are those of the run."""
    with Image.open(trained_run / "sample.png") as file:
        image = np.asarray(file)
    predictor = seg_jax.Predictor.load(trained_run)
    options = {"classes": predictor.table.names, "encoder_width": 8, "encoder_depth": 3} if named else {}
    model = seg_jax.create_model("unet", weights=str(trained_run), **options)
    assert model.table.names == predictor.table.names
    logits = model.apply(model.init(jax.random.key(1)), image[None])
    np.testing.assert_allclose(jax.nn.softmax(logits)[0], predictor(image, probabilities=True).probabilities, atol=1e-4)


def test_weights_of_an_encoder(monkeypatch):
    asked = []

    def read(config, source):
        asked.append((source, config.model.encoder.weights))
        raise WeightsError("this machine is offline")

    monkeypatch.setattr(models, "read", read)
    for options in ({"weights": "imagenet"}, {"encoder_weights": "imagenet"}):
        with pytest.raises(WeightsError, match="offline"):
            seg_jax.create_model(encoder="mobilenetv2", **options)
    assert asked == [("imagenet", "imagenet")] * 2


def test_the_package_names_what_it_has():
    assert {"create_model", "Predictor"} <= set(dir(seg_jax))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'; it has Predictor, SegJaxError, "):
        _ = seg_jax.nothing
