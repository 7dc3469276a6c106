"""The predictor around a network whose answer is known, and around a trained one."""

import functools
import http.server
import json
import socket
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import seg_jax.export.__main__ as export_command
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelTable
from seg_jax.predict import __main__ as predict
from seg_jax.predict import photograph as photographs
from seg_jax.predict import video
from seg_jax.predict.artefacts import ArtefactError
from seg_jax.predict.predictor import Predictor
from seg_jax.predict.scale import working_size
from seg_jax.train.loop import train_and_evaluate

TABLE = LabelTable(names=("red", "green", "blue"))


def by_colour(images):
    """A class for each channel; the probability is the channel's share."""
    shares = images.astype(np.float32) + 1
    return shares / shares.sum(-1, keepdims=True)


def photograph(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def test_maps_at_the_size_of_the_photograph():
    image = photograph((48, 64))
    result = Predictor(by_colour, TABLE, (48, 64))(image, entropy=True, probabilities=True)
    p = by_colour(image)
    assert (result.label == p.argmax(-1)).all() and result.label.dtype == np.uint8
    assert np.allclose(result.confidence, p.max(-1)) and np.allclose(result.probabilities, p)
    assert np.allclose(result.entropy, -(p * np.log(p)).sum(-1), atol=1e-5)
    plain = Predictor(by_colour, TABLE, (48, 64))(image)
    assert plain.entropy is None and plain.probabilities is None


def test_a_photograph_is_seen_at_the_scale_of_the_training():
    seen = []

    def engine(images):
        seen.append(images.shape)
        return by_colour(images)

    result = Predictor(engine, TABLE, (48, 64))(photograph((480, 640)))
    assert seen == [(1, 48, 64, 3)] and result.label.shape == (480, 640)
    Predictor(engine, TABLE, (48, 64), scaled=True)(photograph((480, 640)))
    assert seen[-1] == (1, 480, 640, 3)  # an export that resizes inside


@pytest.fixture
def predictor():
    return Predictor(by_colour, TABLE, (48, 64))


@pytest.fixture
def server(tmp_path):
    """The address of a directory of files."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_whatever_a_photograph_comes_as(predictor, server, tmp_path, monkeypatch):
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    image = photograph((48, 64))
    path = tmp_path / "photo.png"
    picture = Image.fromarray(image)
    picture.save(path)
    kinds = [image, path, str(path), f"{server}/photo.png", picture, picture.convert("RGBA")]
    for kind in kinds:
        result = predictor(kind)
        assert (result.image == image).all() and (result.label == by_colour(image).argmax(-1)).all()
    results = predictor(kinds)
    assert isinstance(results, list) and len(results) == len(list(predictor.many(kinds, batch=2))) == 6
    assert all((result.image == image).all() for result in results)
    assert predictor(tuple(kinds[:1]))[0].image is image and predictor([]) == []
    with pytest.raises(
        DataError, match=r"/nothing.png cannot be fetched \(HTTP Error 404.*Save the photograph and give"
    ):
        predictor(f"{server}/nothing.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"http://.*/text.png is not an image"):
        predictor(f"{server}/text.png")
    monkeypatch.setattr(photographs, "LARGEST", 10)
    with pytest.raises(DataError, match=r"/photo.png sends more than 0 MiB"):
        predictor(f"{server}/photo.png")


def test_without_a_connection_a_url_is_explained(predictor, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(DataError, match=rf"http://127.0.0.1:{port}/x.png cannot be fetched \(.*refused"):
        predictor(f"http://127.0.0.1:{port}/x.png")


def test_pictures_of_pillow_are_turned_upright_and_left_alone(predictor, tmp_path):
    """Orientation 6: the camera was turned by 90 degrees, and so is the photograph."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photograph((48, 64))).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as picture:
        result = predictor(picture)
        assert (result.image == np.rot90(np.asarray(picture), -1)).all() and picture.size == (64, 48)
        assert picture.getexif()[0x0112] == 6
    grey = predictor(Image.new("L", (64, 48), 7))
    assert grey.image.shape == (48, 64, 3) and (grey.image == 7).all()


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (3, "a int is no photograph. Give a path, a URL"),
        (None, "a NoneType is no photograph"),
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\) and type uint8: it must be uint8 \[height, width, 3\]"),
        (np.zeros((4, 4, 3)), r"shape \(4, 4, 3\) and type float64"),
        (np.zeros((2, 4, 4, 3), np.uint8), "Several images are given as a list"),
        ("nowhere.png", "nowhere.png does not exist"),
    ],
)
def test_what_is_no_photograph(predictor, thing, message):
    with pytest.raises(DataError, match=message):
        predictor(thing)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (48, 64)), ((96, 96), (48, 64)), ((1000, 100), (480, 48)), ((100, 1000), (48, 480))],
)
def test_working_sizes(size, expected):
    assert working_size(size, (48, 64)) == expected
    assert min(working_size(size, (48, 64))) == 48


@pytest.mark.parametrize(
    ("size", "trained", "expected"),
    [
        ((1, 2048), (512, 512), (32, 65536)),  # by the factor 32
        ((2048, 1), (512, 512), (65536, 32)),
        ((5000, 3), (512, 512), (83616, 32)),  # to 4 megapixels
        ((20, 20), (512, 512), (512, 512)),  # ordinary thumbnails as ever
        ((8, 8), (512, 512), (256, 256)),
        ((512, 1024), (2048, 4096), (2048, 4096)),  # to the size of large training images
    ],
)
def test_enlargement_is_bounded_in_factor_and_pixels(size, trained, expected):
    assert working_size(size, trained) == expected


@pytest.mark.parametrize(("size", "trained"), [((100, 200_000), (512, 512)), ((512, 512), (65536, 65536))])
def test_what_no_network_should_see_at_once_takes_windows(size, trained):
    with pytest.raises(DataError, match=r"would see [\d,]+ at once, at most 16,777,216\. Use --window=512x512"):
        working_size(size, trained)


def test_a_size_that_needs_gigabytes_is_refused_with_the_name_of_the_file(tmp_path):
    path = tmp_path / "strip.png"
    Image.new("L", (600_000, 40)).save(path)

    def engine(images):
        raise AssertionError("nothing is computed")

    text = r"strip\.png has 40x600000 pixels \(height x width\): "
    for options, reason in (
        ({}, "the network would see 19,200,000 at once"),
        ({"window": (512, 64)}, "padded to the window, 307,200,000 pixels"),
        ({"window": (100, 64), "table": LabelTable(names=tuple("abcdefghijklmnopqrstuvwxyz"))}, ".*more than 4 GiB"),
        ({"scaled": True, "table": LabelTable(names=tuple(map(str, range(200))))}, ".*more than 4 GiB"),
    ):
        with pytest.raises(DataError, match=text + reason):
            Predictor(engine, **{"table": TABLE, "trained_size": (48, 64), **options})(path)
    with pytest.raises(DataError, match=r"strip\.png has 600000x40 pixels; at most 20 million"):
        Predictor(engine, TABLE, (48, 64), megapixels=20)(path)


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP", "TIFF"])
def test_one_of_several_pages_is_named(predictor, form, tmp_path, caplog):
    frames = [Image.fromarray(photograph((48, 64), seed)) for seed in range(4)]
    frames[0].save(tmp_path / "stack", form, save_all=True, append_images=frames[1:])
    assert predictor(tmp_path / "stack").label.shape == (48, 64)
    assert f"{tmp_path / 'stack'} contains 4 pages or frames: 1 of 4 is segmented" in caplog.text
    caplog.clear()
    frames[0].save(tmp_path / "one", form)
    predictor(tmp_path / "one")
    assert not caplog.text


def test_batches_join_neighbours_of_one_size_only_and_keep_the_order():
    seen = []

    def engine(images):
        seen.append(len(images))
        return by_colour(images)

    images = [photograph((48, 64), i) for i in range(5)] + [photograph((64, 48), 9)] + [photograph((48, 64), 7)]
    results = list(Predictor(engine, TABLE, (48, 64)).many(images, batch=2))
    assert seen == [2, 2, 1, 1, 1]  # a batch that is not full passes one by one: two shapes are compiled
    for image, result in zip(images, results, strict=True):
        assert result.image is image and (result.label == by_colour(image).argmax(-1)).all()


def test_windows_keep_the_scale_of_the_photograph():
    seen = []

    def engine(images):
        seen.append(images.shape)
        return by_colour(images)

    image = photograph((100, 70))
    result = Predictor(engine, TABLE, (48, 64), window=(32, 48))(image, entropy=True)
    assert set(seen) == {(1, 32, 48, 3)}
    p = by_colour(image)
    assert (result.label == p.argmax(-1)).mean() > 0.999  # sums in another order may decide a tie otherwise
    assert np.allclose(result.confidence, p.max(-1), atol=1e-5)
    assert np.allclose(result.entropy, -(p * np.log(p)).sum(-1), atol=1e-4)


def test_windows_of_a_run_with_a_short_side_slide_over_that_scale():
    seen = []

    def engine(images):
        seen.append(images)
        return by_colour(images)

    image = np.zeros((100, 80, 3), np.uint8)
    image[:, :40, 0], image[:, 40:, 1] = 255, 255
    result = Predictor(engine, TABLE, (40, 40), window=(50, 40), short_side=40)(image)
    (tile,) = np.concatenate(seen)  # 50 x 40 is the whole photograph
    np.testing.assert_array_equal(tile[10, [0, 18, 21, 39], 1], [0, 0, 255, 255])
    assert result.label.shape == (100, 80)
    np.testing.assert_array_equal(result.label[:, 2:38], result.label[0, 0])
    np.testing.assert_array_equal(result.label[:, 42:78], result.label[0, 79])
    assert result.label[0, 0] != result.label[0, 79]
    with pytest.raises(DataError, match=r"a photograph has 2x400000 pixels .*"):
        Predictor(engine, TABLE, (40, 40), window=(50, 40), short_side=40)(np.zeros((2, 400000, 3), np.uint8))


def test_an_export_of_labels_has_no_probabilities():
    def engine(images):
        return by_colour(images).argmax(-1).astype(np.uint8)

    predictor = Predictor(engine, TABLE, (48, 64))
    result = predictor(photograph((96, 128)))
    assert result.label.shape == (96, 128) and result.confidence is None
    with pytest.raises(DataError, match="Export with --output=probabilities"):
        predictor(photograph((48, 64)), entropy=True)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)])
def test_what_is_no_photograph_is_refused(image):
    with pytest.raises(DataError, match=r"must be uint8 \[height, width, 3\]"):
        Predictor(by_colour, TABLE, (48, 64))(image)


def test_shares_colours_and_overlay():
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :16, 0] = image[:, 16:, 2] = 255
    result = Predictor(by_colour, TABLE, (48, 64))(image)
    assert result.shares() == {"red": 0.25, "green": 0.0, "blue": 0.75}
    assert (result.color() == TABLE.colorize(result.label)).all()
    assert result.overlay().shape[0] > 48 and (result.overlay(opacity=0.0)[:48] == image).all()


def test_an_exported_file_predicts_as_its_run_does(trained_run, tmp_path):
    pytest.importorskip("onnxruntime")
    whole, fixed = tmp_path / "whole.onnx", tmp_path / "fixed.onnx"
    assert export_command.main([str(trained_run), "--format=onnx", f"--out={whole}"]) == 0
    assert export_command.main([str(trained_run), "--format=onnx", f"--out={fixed}", "--size=48x64"]) == 0
    run, image = Predictor.load(trained_run), photograph((96, 128))
    wanted = run(image, probabilities=True)
    for path, tolerance in (
        (whole, 1e-4),
        (fixed, 0.25),
    ):  # the latter resizes inside, which is not Pillow's to the bit
        found = Predictor.load(path)(image, probabilities=True)
        assert np.abs(found.probabilities - wanted.probabilities).max() < tolerance
        assert (found.label == wanted.label).mean() > 0.99 and found.table.names == run.table.names
    exported = Predictor.load(whole)
    assert exported.card["architecture"] == "unet" and exported.identity != run.identity
    windows = [Predictor.load(path, window=(32, 32))(image).confidence for path in (whole, trained_run)]
    assert np.allclose(*windows, atol=1e-4)
    with pytest.raises(ArtefactError, match="choices of a run directory"):
        Predictor.load(whole, flip=True)


@pytest.mark.slow
def test_several_networks_export_as_one(tiny_config, undrawn, tmp_path):
    pytest.importorskip("onnxruntime")
    config = tiny_config({"train.seeds": 2, "train.steps": 1, "log.tensorboard": False})
    train_and_evaluate(config, tmp_path / "run")
    run, image = Predictor.load(tmp_path / "run"), photograph((32, 32))
    for kind in ("onnx", "stablehlo", "safetensors"):
        out = tmp_path / f"model.{kind}"
        assert export_command.main([str(tmp_path / "run"), f"--format={kind}", f"--out={out}"]) == 0
        assert np.allclose(Predictor.load(out)(image).confidence, run(image).confidence, atol=1e-4)


def test_a_camera_films_until_it_has_the_frames(trained_run, tmp_path, monkeypatch, capsys):
    av = pytest.importorskip("av")
    # FFmpeg's test pictures stand in for a device.
    monkeypatch.setitem(video.CAMERAS, sys.platform, ("lavfi", "testsrc=size=64x48:rate=10"))
    flags = [f"--out={tmp_path}", "--frames=3", "--write=mask,color", "--json"]
    assert predict.main([str(trained_run), "7", *flags]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["images"] == 3 and not summary["failed"]
    masks = sorted((tmp_path / "camera7_mask").iterdir())
    assert [path.name for path in masks] == ["000001_mask.png", "000002_mask.png", "000003_mask.png"]
    with av.open("testsrc=size=64x48:rate=10", format="lavfi") as source:
        first = next(source.decode(video=0)).to_ndarray(format="rgb24")
    assert (np.asarray(Image.open(masks[0])) == Predictor.load(trained_run)(first).label).all()
    with av.open(str(tmp_path / "camera7_color.mp4")) as container:
        assert len(list(container.decode(video=0))) == 3
