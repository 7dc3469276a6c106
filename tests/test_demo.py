"""The demo: the page's parts in this process, and the page itself in a browser."""

import io
import os
import runpy
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image

from seg_jax import shipped
from seg_jax.demo import __main__ as demo
from seg_jax.export import __main__ as export
from seg_jax.predict.predictor import Predictor
from seg_jax.runtime import extras
from tests.runs import REPOSITORY

streamlit = pytest.importorskip("streamlit")
APP = REPOSITORY / "seg_jax" / "demo" / "app.py"


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def page(monkeypatch):
    """page(*arguments) -> the page as Streamlit runs it, without a browser."""
    from streamlit.testing.v1 import AppTest

    def open_page(*arguments):
        monkeypatch.setattr(sys, "argv", ["app.py", *map(str, arguments)])
        return AppTest.from_file(str(APP), default_timeout=120).run()

    return open_page


def shares(app, number=0):
    return {row[0]: row[1] for row in app.dataframe[number].value.itertuples(index=False)}


def test_the_page_shows_what_the_predictor_says(page, trained_run):
    app = page(trained_run)
    assert not app.exception and not app.error
    with Image.open(trained_run / "sample.png") as image:
        result = Predictor.load(trained_run)(np.asarray(image))
    expected = {name: round(100 * share, 2) for name, share in result.shares().items() if share}
    assert shares(app) == pytest.approx(expected)
    assert app.multiselect[0].value == np.unique(result.label).tolist()
    assert [tab.label for tab in app.tabs] == ["Overlay", "Mask", "Confidence", "Uncertainty", "Photograph"]
    assert "unet" in app.table[0].value.to_string()
    assert [button.label for button in app.get("download_button")] == [
        f"Download {kind}" for kind in ("mask", "color", "overlay")
    ]
    app.multiselect[0].unselect(app.multiselect[0].value[0]).run()
    app.sidebar.slider[0].set_value(0.1).run()
    assert not app.exception


def test_an_upload_takes_the_place_of_the_sample(page, trained_run):
    app = page(trained_run)
    before = shares(app)
    app.sidebar.file_uploader[0].upload("mine.png", png(np.full((40, 60, 3), 200, np.uint8)), "image/png").run()
    assert not app.exception and not app.error and shares(app) != before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.png", b"no picture", "notes.png is not an image that can be decoded"),
        ("huge.png", png(np.zeros((9000, 9000), bool)), "huge.png has 9000x9000 pixels; at most 80 million"),
        ("larger.png", png(np.zeros((13500, 13500), bool)), "larger.png has 182250000 pixels; at most 80 million"),
    ],
)
def test_useless_uploads_are_explained(page, trained_run, name, content, message):
    app = page(trained_run)
    app.sidebar.file_uploader[0].upload(name, content, "image/png").run()
    assert message in app.error[0].value and not app.exception


def test_two_models_side_by_side(page, trained_run):
    app = page(trained_run, trained_run)
    assert not app.exception and len(app.dataframe) == 2 and shares(app, 0) == shares(app, 1)


def test_without_a_model_it_shows_what_is_here(page, trained_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert "There is no runs/synthetic_unet here" in page().error[0].value
    assert export.main([str(trained_run), "--format=safetensors", f"--out={tmp_path / 'street.safetensors'}"]) == 0
    app = page()  # the network of the package, which has no sample
    assert not app.error and "Upload a photograph" in app.info[0].value
    app.sidebar.file_uploader[0].upload("a.png", png(np.full((96, 128, 3), 99, np.uint8)), "image/png").run()
    assert not app.error and "street" in app.table[0].value.to_string()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "synthetic_unet").symlink_to(trained_run)
    app = page()
    assert not app.error and "unet" in app.table[0].value.to_string()


@pytest.fixture
def started(monkeypatch):
    """What would have been started: (module, sys.argv)."""
    calls = []
    monkeypatch.setattr(sys, "argv", ["seg-jax"])
    monkeypatch.setattr(runpy, "run_module", lambda module, **_: calls.append((module, sys.argv)))
    return calls


def test_the_command_starts_streamlit(started):
    assert demo.main(["runs/a b", "model.onnx"]) == 0
    assert started == [("streamlit", ["streamlit", "run", str(APP), "--", "runs/a b", "model.onnx"])]


def test_the_page_is_for_this_machine_alone(tmp_path):
    # What Streamlit reads when it is started from any directory, by our command or its own.
    code = (
        "from streamlit import config;"
        f"config._main_script_path = {str(APP)!r};"
        "names = ('server.address', 'browser.gatherUsageStats', 'server.showEmailPrompt');"
        "print(*(config.get_option(name) for name in names))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["127.0.0.1", "False", "False"], done.stderr


def test_the_command_refuses_three_models(started, capsys):
    with pytest.raises(SystemExit):
        demo.main(["a", "b", "c"])
    assert "3 networks: the page shows one or two" in capsys.readouterr().err and not started


def test_without_streamlit_the_command_says_how_to_add_it(started, monkeypatch, capsys):
    monkeypatch.setattr(extras, "is_installed", lambda name: False)
    assert demo.main([]) == 1
    assert extras.install_command("demo") in capsys.readouterr().err and not started


def test_what_is_no_model_is_explained(page, tmp_path):
    app = page(tmp_path / "nothing")
    assert not app.exception
    assert app.info or app.error


def test_it_starts_without_tensorflow(trained_run):
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('tensorflow', 'clu')));"
        f"sys.argv = ['app.py', {str(trained_run)!r}];"
        "from streamlit.testing.v1 import AppTest;"
        f"app = AppTest.from_file({str(APP)!r}, default_timeout=120).run();"
        "assert not app.exception and not app.error and len(app.tabs) == 5"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def address(trained_run):
    """Of the demo as users start it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"STREAMLIT_SERVER_PORT": str(port), "STREAMLIT_SERVER_HEADLESS": "true"}
    command = [sys.executable, "-m", "seg_jax", "demo", str(trained_run)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.2)
            yield url
        finally:
            server.terminate()


FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.mark.slow
def test_in_a_browser(address, trained_run, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on the PATH")
    photo = tmp_path / "photo.png"
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[:] = (70, 130, 230)  # the sky of a drawn scene, as the network may or may not see it
    Image.fromarray(picture).save(photo)
    with playwright.sync_playwright() as start:
        browser = start.chromium.launch(executable_path=chromium, args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 1100})
        tab.goto(address)
        tab.get_by_role("tab", name="Overlay").wait_for(timeout=120_000)
        tab.wait_for_function("document.querySelectorAll('img').length > 0", timeout=60_000)
        before = tab.get_by_test_id("stImage").first.screenshot()
        assert np.asarray(Image.open(io.BytesIO(before)).convert("RGB")).std() > 10  # a picture, not an empty box
        tab.set_input_files("input[type=file]", str(photo))
        tab.get_by_text("photo.png").wait_for(timeout=60_000)
        tab.get_by_role("tab", name="Photograph").click()
        tab.wait_for_timeout(3000)
        shown = tab.get_by_test_id("stImage").locator("visible=true").first.screenshot()
        pixels = np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")).reshape(-1, 3)
        assert (np.abs(np.median(pixels, 0) - (70, 130, 230)) <= 3).all()  # the upload, in its own colour
        with tab.expect_download() as download:
            tab.get_by_role("button", name="Download mask").click()
        with Image.open(download.value.path()) as mask:
            assert mask.size == (128, 96) and mask.mode == "L"
        browser.close()
