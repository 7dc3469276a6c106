"""A web page for a trained network, as Streamlit runs it with the arguments [MODEL [MODEL]].

MODEL is a run directory, an exported file or the name of a network of the package; two of them are shown side by side.
The default is the run of `./launch.sh`, or `street` where there is none. The page needs only `seg_jax.predict`: neither
TensorFlow nor the training code.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

from seg_jax import shipped, viz
from seg_jax.data.images import Encoded, pictured, read_image
from seg_jax.predict.predictor import Prediction, Predictor
from seg_jax.run.directory import RunDirectory
from seg_jax.runtime import process
from seg_jax.runtime.errors import SegJaxError

DEFAULT = Path("runs/synthetic_unet")
UNTRAINED = "street"  # in the package, where there is no such run
MAX_SIDE = 2048  # pixels of the longer side; larger photographs are reduced, so that the page stays quick
ENLARGED_SIDE = 640  # pixels of the longer side up to which small photographs are enlarged by whole factors


@st.cache_resource(show_spinner="loading the network")
def load(model: str) -> Predictor:
    """One predictor for each model, shared by all visitors."""
    process.collect_rarely()
    process.use_compilation_cache()
    return Predictor.load(model)


@st.cache_resource(show_spinner="predicting", max_entries=8)
def predict(model: str, content: bytes, name: str) -> Prediction:
    """The prediction of a model for an image file."""
    predictor = load(model)
    if predictor.depth.is_rgb:
        return predictor(photograph(content, name), entropy=True)
    return predictor(Encoded(content, name), entropy=True)


def photograph(content: bytes, name: str) -> np.ndarray:
    """uint8 [h w 3] of an image file, reduced to at most `MAX_SIDE` pixels on the longer side.

    Raises:
      DataError: it is not an image, or has too many pixels, see `seg_jax.data.decoder`.
    """
    image = read_image(Encoded(content, name))
    if max(image.shape[:2]) <= MAX_SIDE:
        return image
    picture = Image.fromarray(image)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return np.asarray(picture)


def png(picture: np.ndarray) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def heat(values: np.ndarray, maximum: float) -> np.ndarray:
    """A heat map, uint8 [h w 3], of values [h w] in 0..maximum, dark to bright."""
    share = np.clip(values / maximum, 0, 1)[..., None]
    stops = np.array([[13, 8, 60], [150, 30, 110], [240, 120, 50], [250, 245, 150]], np.float32)
    position = share * (len(stops) - 1)
    low = np.minimum(position.astype(int), len(stops) - 2)
    step = stops[low[..., 0] + 1] - stops[low[..., 0]]
    return np.round(stops[low[..., 0]] + (position - low) * step).astype(np.uint8)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A small picture [h w ...], enlarged by a whole factor up to `ENLARGED_SIDE`; larger ones are unchanged."""
    times = max(1, ENLARGED_SIDE // max(picture.shape[:2]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def samples(models: Sequence[str]) -> dict[str, bytes]:
    """{caption: image file} of the samples in run directories."""
    files = {}
    for model in models:
        path = RunDirectory(model).sample_file
        if path.is_file():
            files[f"sample of {Path(model).name}"] = path.read_bytes()
    return files


def choose(models: Sequence[str]) -> tuple[bytes, str] | None:
    """The image file (content, name) that the visitor uploads or selects; None without one."""
    upload = st.sidebar.file_uploader("Photograph", type=["png", "jpg", "jpeg", "bmp", "webp", "tif", "tiff"])
    if upload is not None:
        return upload.getvalue(), upload.name
    files = samples(models)
    if not files:
        st.info("Upload a photograph in the column on the left.")
        return None
    caption = st.sidebar.selectbox("or a sample", list(files))
    return files[caption], caption


def card(model: str, predictor: Predictor) -> None:
    """The model card of a network."""
    with st.expander("Model card"):
        rows = {"file": model, **predictor.card}
        st.table({"": list(rows), " ": [str(value) for value in rows.values()]})


def show(model: str, content: bytes, name: str, *, opacity: float, key: str) -> None:
    """The column of one network: overlay, mask, maps, shares, downloads, card."""
    predictor = load(model)
    result = predict(model, content, name)
    table = result.table
    present = [i for i, share in enumerate(result.shares().values()) if share > 0]
    shown = st.multiselect(
        "Classes", present, default=present, format_func=lambda i: table.names[i], key=f"classes {key}"
    )
    visible = np.where(np.isin(result.label, shown), result.label, result.table.ignored).astype(result.label.dtype)
    overlay = viz.overlay(result.image, visible, table, opacity=opacity)
    shown_overlay = enlarged(overlay)
    legend = viz.legend(table, shown, shown_overlay.shape[1]) if shown else shown_overlay[:0]
    names = ["Overlay", "Mask", "Confidence", "Uncertainty", "Photograph"]
    tabs = dict(zip(names, st.tabs(names), strict=True))
    tabs["Overlay"].image(np.concatenate([shown_overlay, legend]))
    tabs["Mask"].image(np.concatenate([enlarged(table.colorize(visible)), legend]))
    if result.confidence is None or result.entropy is None:
        tabs["Confidence"].info("This export gives labels only.")
        tabs["Uncertainty"].info("This export gives labels only.")
    else:
        tabs["Confidence"].image(
            enlarged(heat(result.confidence, 1.0)), caption="probability of the class, 0 (dark) to 1"
        )
        tabs["Uncertainty"].image(
            enlarged(heat(result.entropy, np.log(len(table)))), caption=f"entropy, 0 (dark) to log {len(table)}"
        )
    tabs["Photograph"].image(enlarged(pictured(result.image)))
    shares = sorted(result.shares().items(), key=lambda pair: -pair[1])
    st.dataframe(
        {
            "class": [c for c, s in shares if s > 0],
            "share of the pixels, %": [round(100 * s, 2) for _, s in shares if s],
        },
        hide_index=True,
        key=f"shares {key}",
    )
    stem = Path(name).stem.replace(" ", "_")
    columns = st.columns(3)
    for column, (kind, picture) in zip(
        columns, {"mask": result.label, "color": result.color(), "overlay": overlay}.items(), strict=True
    ):
        column.download_button(f"Download {kind}", png(picture), f"{stem}_{kind}.png", "image/png", key=f"{kind} {key}")
    card(model, predictor)


def main(models: Sequence[str]) -> None:
    """The page."""
    st.set_page_config(page_title="seg_jax", layout="wide")
    st.title("Semantic segmentation")
    if not models:
        if not RunDirectory(DEFAULT).exists and not shipped.find(UNTRAINED):
            st.error(f"There is no {DEFAULT} here. Train a network, or name one: python -m seg_jax.demo MODEL")
            return
        models = [str(DEFAULT) if RunDirectory(DEFAULT).exists else UNTRAINED]
    opacity = st.sidebar.slider("Opacity of the overlay", 0.0, 1.0, 0.55)
    try:
        chosen = choose(models)
        if chosen is None:
            return
        for column, (i, model) in zip(st.columns(len(models)), enumerate(models), strict=True):
            with column:
                st.subheader(Path(model).name)
                show(model, *chosen, opacity=opacity, key=str(i))
    except (SegJaxError, OSError) as error:
        st.error(str(error))


if __name__ == "__main__":  # which Streamlit calls it
    main(sys.argv[1:3])
