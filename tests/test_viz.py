"""Pictures: which pixel has which colour, the sizes of panels and sheets, and PNGs that can be opened."""

import io

import numpy as np
import pytest
from PIL import Image

from seg_jax import viz
from seg_jax.data.labels import IGNORE, LabelTable
from seg_jax.data.labels.builtin import CAMVID

TABLE = LabelTable(names=("sky", "road"), colors=((100, 0, 0), (0, 200, 0)))
LONG = LabelTable(names=CAMVID.names)  # in colours without grey, which the edges of letters have
H, W = 6, 40


def photo(h=H, w=W):
    return np.random.default_rng(0).integers(0, 256, (h, w, 3), np.uint8)


def decoded(png):
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


# ----- overlay and error map


def test_overlay_by_hand():
    image = np.array([[[0, 100, 200], [10, 20, 30], [255, 255, 255]]], np.uint8)
    label = np.array([[0, 1, IGNORE]], np.uint8)
    got = viz.overlay(image, label, TABLE, opacity=0.25)
    assert got.dtype == np.uint8
    # 3/4 of the photograph and 1/4 of the colour; the ignored pixel is as it was.
    np.testing.assert_array_equal(got, [[[25, 75, 150], [8, 65, 22], [255, 255, 255]]])


def test_overlay_keeps_ignored_pixels():
    image = photo()
    np.testing.assert_array_equal(viz.overlay(image, np.full((H, W), IGNORE, np.uint8), TABLE), image)


@pytest.mark.parametrize(("opacity", "expected"), [(0.0, "photograph"), (1.0, "colour")])
def test_overlay_from_photograph_to_colour(opacity, expected):
    image, label = photo(), np.indices((H, W))[1].astype(np.uint8) % 2
    got = viz.overlay(image, label, TABLE, opacity=opacity)
    np.testing.assert_array_equal(got, image if expected == "photograph" else TABLE.colorize(label))


def test_error_map():
    truth = np.array([[0, 0, 1, IGNORE, IGNORE]], np.uint8)
    prediction = np.array([[0, 1, 0, 0, 1]], np.uint8)
    got = viz.error_map(truth, prediction)
    assert got.dtype == np.uint8
    right, wrong, ignored = (40, 40, 40), (235, 64, 52), (255, 255, 255)
    assert [tuple(pixel) for pixel in got[0].tolist()] == [right, wrong, wrong, ignored, ignored]


# ----- panels, sheets, legends


def test_panel():
    image = photo()
    truth = np.zeros((H, W), np.uint8)
    truth[0, 0] = IGNORE
    prediction = np.ones((H, W), np.uint8)
    got = viz.panel(image, truth, prediction, TABLE)
    assert (got.shape, got.dtype) == ((H, 4 * W + 3 * 4, 3), np.uint8)
    parts = [got[:, i * (W + 4) : i * (W + 4) + W] for i in range(4)]
    np.testing.assert_array_equal(parts[0], image)
    np.testing.assert_array_equal(parts[1], TABLE.colorize(truth))
    np.testing.assert_array_equal(parts[2], TABLE.colorize(prediction))
    np.testing.assert_array_equal(parts[3], viz.error_map(truth, prediction))
    for i in range(3):
        assert (got[:, i * (W + 4) + W : (i + 1) * (W + 4)] == 255).all()


def test_a_panel_of_large_pictures_is_reduced(monkeypatch):
    monkeypatch.setattr(viz, "MAX_SIDE", W // 2)
    label = np.zeros((H, W), np.uint8)
    label[: H // 2] = 1
    got = viz.panel(photo(), label, 1 - label, TABLE)
    assert got.shape == (round(H / 2), 4 * (W // 2) + 3 * 4, 3)
    small = label[1::2, 1::2]  # the nearest to the middle of two, downwards
    np.testing.assert_array_equal(viz.parts(got)[1], TABLE.colorize(small))
    np.testing.assert_array_equal(viz.parts(got)[2], TABLE.colorize(1 - small))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", [(H, W), (96, 128)])
def test_sheet(count, size):
    label = np.zeros(size, np.uint8)
    panels = [viz.panel(photo(*size) // (i + 1), label, label, TABLE) for i in range(count)]
    got = viz.sheet(panels, TABLE)
    width = panels[0].shape[1]
    classes = [("sky", (100, 0, 0)), ("road", (0, 200, 0)), ("ignored", (0, 0, 0))]
    errors = [("error: right", (40, 40, 40)), ("wrong", (235, 64, 52)), ("ignored", (255, 255, 255))]
    legend = np.concatenate([viz.squares(classes, width), viz.squares(errors, width)])
    assert got.dtype == np.uint8
    assert got.shape[1:] == (width, 3)
    np.testing.assert_array_equal(got[-legend.shape[0] :], legend)
    head = got.shape[0] - legend.shape[0] - count * (size[0] + 4)
    assert 20 <= head <= 40
    for i, panel in enumerate(panels):
        top = head + i * (size[0] + 4)
        np.testing.assert_array_equal(got[top : top + size[0]], panel)
        assert (got[top + size[0] : top + size[0] + 4] == 255).all()
    # Each of the four titles stands above its column.
    column = size[1]
    for i in range(4):
        assert (got[:head, i * (column + 4) : i * (column + 4) + column] < 128).any()


def test_a_sheet_without_the_error_picture_has_no_legend_of_it():
    label = np.zeros((96, 128), np.uint8)
    pair = viz.row([photo(96, 128), TABLE.colorize(label)])
    with_error, without = (viz.sheet([pair], TABLE, titles=["image", last]) for last in ("error", "truth"))
    assert with_error.shape[0] > without.shape[0]


def test_ignored_pixels_are_not_shown_as_a_class():
    table = LabelTable(names=("background", "cat"), colors=((0, 0, 0), (255, 255, 255)))
    label = np.array([[0, 1, IGNORE]], np.uint8)
    truth = viz.parts(viz.panel(np.zeros((1, 3, 3), np.uint8), label, label, table))[1]
    assert truth.tolist() == [[[0, 0, 0], [255, 255, 255], [128, 128, 128]]]
    shown = viz.sheet([viz.panel(photo(96, 128), *2 * [np.zeros((96, 128), np.uint8)], table)], table)
    assert (shown == 128).all(-1).sum() > 64  # the square of the legend


def places_of(legend, table, classes):
    """Where the square of each class lies: (top row, left column)."""
    places = []
    for i in classes:
        rows, columns = np.nonzero((legend == table.colors[i]).all(-1))
        # The frame is black, the inside at least 8 pixels wide.
        places.append((int(rows.min()), int(columns.min())))
        assert len(rows) >= 64
    return places


def test_a_wide_legend_has_one_line():
    legend = viz.legend(LONG, range(len(LONG)), 3000)
    places = places_of(legend, LONG, range(len(LONG)))
    assert len({row for row, _ in places}) == 1
    assert [column for _, column in places] == sorted(column for _, column in places)
    assert legend.shape[0] < 40


def test_a_narrow_legend_wraps():
    width = 220
    legend = viz.legend(LONG, range(len(LONG)), width)
    places = places_of(legend, LONG, range(len(LONG)))
    assert legend.shape[1:] == (width, 3)
    assert len({row for row, _ in places}) > 2
    assert places == sorted(places)  # in reading order
    # Nothing is written beyond the right edge: the names end before it.
    assert (legend[:, -2:] == 255).all()
    assert legend.shape[0] > 2 * viz.legend(LONG, range(len(LONG)), 3000).shape[0]


def test_a_legend_narrower_than_its_names_still_shows_every_square():
    legend = viz.legend(LONG, range(len(LONG)), 40)
    assert len({row for row, _ in places_of(legend, LONG, range(len(LONG)))}) == len(LONG)


def test_a_legend_of_some_classes():
    legend = viz.legend(LONG, [3, 8], 3000)
    shown = {tuple(pixel) for pixel in legend.reshape(-1, 3).tolist()}
    assert [i for i, color in enumerate(LONG.colors) if color in shown] == [3, 8]


# ----- plots


@pytest.mark.parametrize("count", [1, 2, 4])
def test_curves(count):
    series = {f"metric {i}": [(step, step**0.5 * i) for step in range(0, 500, 10)] for i in range(count)}
    picture = decoded(viz.curves(series))
    rows, columns = -(-count // 3), min(count, 3)
    assert picture.shape == (780 * rows, 1020 * columns, 3)  # 3.4 by 2.6 inches at 300 dots an inch
    assert picture.std() > 5


def test_a_curve_shows_its_values():
    rising = viz.curves({"loss": [(0, 0.0), (1, 1.0)]})
    assert rising == viz.curves({"loss": [(0, 0.0), (1, 1.0)]})
    assert rising != viz.curves({"loss": [(0, 1.0), (1, 0.0)]})


def test_curves_of_several_runs():
    one, two = {"loss": [(0, 1.0), (1, 0.5)]}, {"loss": [(0, 0.9)], "miou": [(1, 0.3)]}
    both = decoded(viz.curves(one, two, labels=["one", "two"]))
    assert both.shape == (780 + 2 * 48, 2040, 3)  # a line of text for each run
    assert (both != decoded(viz.curves(one, {"miou": [(1, 0.3)]}, labels=["one", "two"]))).any()


def test_a_panel_comes_apart_again():
    image, label = photo(), np.indices((H, W))[1].astype(np.uint8) % 2
    got = viz.parts(viz.panel(image, label, 1 - label, TABLE))
    expected = [image, TABLE.colorize(label), TABLE.colorize(1 - label), viz.error_map(label, 1 - label)]
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_curves_of_one_point_and_of_missing_values():
    decoded(viz.curves({"val/miou": [(5, 0.3)], "loss": [(1, 2.0), (2, float("nan")), (3, 1.0)], "none": []}))


def test_confusion():
    # Rows as shares: class 0 is always right (dark), class 1 always taken for 0, class 2 does not occur (light).
    matrix = np.array([[10, 0, 0], [7, 0, 0], [0, 0, 0]], np.int64)
    picture = decoded(viz.confusion(matrix, ("a", "b", "c")))
    assert picture.shape[0] >= 500
    other = decoded(viz.confusion(matrix.T, ("a", "b", "c")))
    assert (picture != other).any()
    scaled = decoded(viz.confusion(matrix * [[1], [1000], [5]], ("a", "b", "c")))
    np.testing.assert_array_equal(scaled, picture)  # shares of each row, not counts


@pytest.mark.parametrize("k", [3, 255])
def test_a_confusion_matrix_fits_a_page(k):
    picture = decoded(viz.confusion(np.eye(k, dtype=np.int64), [f"class {i}" for i in range(k)]))
    assert 700 <= picture.shape[0] <= 5820


def test_titles_are_words_and_epochs_stand_beside_steps(monkeypatch):
    figures = []
    monkeypatch.setattr(viz.plots, "_picture", lambda figure, **_: figures.append(figure) or b"")
    series = {"train/lr": [(0, 0.1), (800, 0.0)], "val/miou": [(400, 0.5)], "loss": [(1, 2.0)]}
    viz.curves(series, epoch=200)
    axes = figures[0].axes
    assert [each.get_title() for each in axes] == ["learning rate (train)", "mean IoU (val)", "loss"]
    (above,) = axes[0].child_axes
    figures[0].draw_without_rendering()
    assert above.get_xlabel() == "epoch" and above.get_xlim() == tuple(x / 200 for x in axes[0].get_xlim())
    viz.curves(series)
    assert figures[1].axes[0].child_axes == []


def test_training_and_validation_are_lines_of_one_plot(monkeypatch):
    figures = []
    monkeypatch.setattr(viz.plots, "_picture", lambda figure, **_: figures.append(figure) or b"")
    one = {"train/loss": [(1, 2.0), (2, 1.0)], "val/loss": [(2, 1.5)], "train/lr": [(1, 0.1)]}
    viz.curves(one)
    viz.curves(one, {"val/loss": [(2, 1.2)]}, labels=["first", "second"])
    for figure, runs in zip(figures, [[], ["first", "second"]], strict=True):
        loss, lr = figure.axes
        assert (loss.get_title(), lr.get_title()) == ("loss", "learning rate (train)")
        assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "val"]
        assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == runs
    assert figures[0].axes[0].lines[1].get_xydata().tolist() == [[2, 1.5]]


def test_plots_stay_readable_below_many_runs_with_long_names():
    one = {"train/loss": [(1, 2.0), (2, 1.0)], "val/loss": [(2, 1.5)], "val/miou": [(2, 0.5)]}
    names = [f"/runs/{'deep/' * 30}{'$' * 60}{i}" for i in range(20)]
    short, long = (decoded(viz.curves(*[one] * 20, labels=labels)) for labels in ([*map(str, range(20))], names))
    assert short.shape[1] == long.shape[1] and long.shape[0] > short.shape[0] > 2.6 * 300


def test_the_best_evaluation_is_marked_in_every_plot(monkeypatch):
    figures = []
    monkeypatch.setattr(viz.plots, "_picture", lambda figure, **_: figures.append(figure) or b"")
    one = {"train/loss": [(1, 2.0), (1200, 1.0)], "val/miou": [(1200, 0.5)]}
    for best in (1200, 0):
        viz.curves(one, best=best)
    marked, unmarked = figures
    for axes in marked.axes:
        assert axes.lines[-1].get_xdata() == [1200, 1200] and axes.lines[-1].get_linestyle() == ":"
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["best, step 1,200"]
    assert [len(axes.lines) for axes in unmarked.axes] == [1, 1] and unmarked.axes[0].get_legend() is None


def test_the_curves_of_classes(monkeypatch):
    figures = []
    monkeypatch.setattr(viz.plots, "_picture", lambda figure, **_: figures.append(figure) or b"")
    val = {"a/b": [(1, 0.25), (2, 0.5)], "$c": [(2, 0.125)]}
    viz.class_curves({"train": {"a/b": [(2, 0.75)]}, "val": val}, ["a/b", "$c"], best=2)
    first, second = figures[0].axes
    assert [first.get_title(), second.get_title()] == ["a/b", r"\$c"] and first.get_ylim() == (0, 1)
    assert [line.get_xydata().tolist() for line in first.lines[:2]] == [[[2, 0.75]], [[1, 0.25], [2, 0.5]]]
    assert [line.get_xydata().tolist() for line in second.lines[:2]] == [[], [[2, 0.125]]]
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["train", "val", "best, step 2"]
    viz.class_curves({"val": {str(i): [(1, i / 10)] for i in range(7)}}, [str(i) for i in range(7)])
    assert [axes.axison for axes in figures[1].axes] == [True] * 7 + [False] * 3


def test_a_pdf_has_fonts_for_publishers_and_no_date():
    one, other = (viz.curves({"loss": [(0, 1.0), (1, 0.5)]}, form="pdf") for _ in range(2))
    assert one == other and one.startswith(b"%PDF-") and b"/CIDFontType2" in one and b"/Type3" not in one
    assert viz.confusion(np.eye(2, dtype=np.int64), ("a", "b"), form="pdf").startswith(b"%PDF-")


def test_confusion_of_many_classes():
    k = 45
    picture = decoded(viz.confusion(np.eye(k, dtype=np.int64), [f"class {i}" for i in range(k)]))
    assert picture.shape[0] > 2000


# ----- contact sheet and distribution


def test_contacts_by_hand():
    image, label = np.full((4, 6, 3), 30, np.uint8), np.tile(np.array([0, 0, 0, 1, 1, IGNORE], np.uint8), (4, 1))
    got = viz.contacts([(image, label)] * 3, TABLE, height=4, columns=2)
    assert got.dtype == np.uint8
    assert got.shape[1] == 2 * (6 + 6 + 4)
    mask = [*[(100, 0, 0)] * 3, *[(0, 200, 0)] * 2, (0, 0, 0)]
    for y, x in ((0, 0), (0, 16), (8, 0)):
        cell = got[y : y + 4, x : x + 12]
        np.testing.assert_array_equal(cell[:, :6], image)
        np.testing.assert_array_equal(cell[0, 6:], mask)
    assert (got[8:12, 16:] == 255).all()  # no fourth one


def test_contacts_of_different_sizes():
    pairs = [(photo(h, w), np.zeros((h, w), np.uint8)) for h, w in ((20, 30), (60, 30), (300, 900))]
    got = viz.contacts(pairs, TABLE, height=60)
    assert got.shape[1] == 2 * (360 + 4)


@pytest.mark.parametrize("shares", [{"train": (0.5, 0.5)}, {"train": (0.999, 0.001), "val": (1.0, 0.0)}])
def test_distribution(shares):
    picture = decoded(viz.distribution(shares, TABLE))
    colors = {tuple(c) for c in picture.reshape(-1, 3).tolist()}
    assert {(100, 0, 0), (0, 200, 0)} <= colors
