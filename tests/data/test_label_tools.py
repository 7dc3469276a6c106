"""Outlines and run lengths of label tools -> pixels, beside answers by hand, of pycocotools and of a second way."""

import base64
import io
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seg_jax.data.images import DataError
from seg_jax.data.label_tools import cvat, raster, rle, supervisely

SIZE = (9, 13)


def pixels(patch, size=SIZE):
    mask = np.zeros(size, bool)
    raster.paint(mask, patch, True)
    return mask


def shown(mask):
    return ["".join(".#"[v] for v in row) for row in mask.astype(int)]


def filled(*rings, size=SIZE):
    return shown(pixels(raster.polygon([np.array(ring, float).reshape(-1, 2) for ring in rings], size), size))


# ----- outlines; pycocotools 2.0.11 gives the same pixels for these, but for one


@pytest.mark.parametrize(
    ("ring", "rows"),
    [
        ([2, 1, 8, 1, 8, 6, 2, 6], ["." * 13, *["..######....."] * 5, *["." * 13] * 3]),
        (
            [1, 1, 12, 1, 12, 8, 9, 8, 9, 4, 4, 4, 4, 8, 1, 8],
            ["." * 13, *[".###########."] * 3, *[".###.....###."] * 4, "." * 13],
        ),
        (
            [1, 1, 11, 1, 1, 8],
            [
                ".............",
                ".#########...",
                ".########....",
                ".######......",
                ".#####.......",
                ".####........",  # pycocotools rounds to a fifth of a pixel, and leaves the last one out
                ".##..........",
                ".#...........",
                ".............",
            ],
        ),
    ],
)
def test_a_pixel_belongs_to_an_outline_if_its_centre_does(ring, rows):
    assert filled(ring) == rows
    assert filled(np.array(ring).reshape(-1, 2)[::-1].ravel()) == rows  # whichever way around


def test_of_centres_on_an_outline_those_above_and_to_the_left_belong_to_it():
    assert filled([2.5, 1.5, 8.5, 1.5, 8.5, 6.5, 2.5, 6.5]) == filled([2, 1, 8, 1, 8, 6, 2, 6])


def test_a_hole_stays_a_hole_and_parts_are_united():
    outer, inner = [1, 1, 12, 1, 12, 8, 1, 8], [4, 3, 9, 3, 9, 6, 4, 6]
    assert filled(outer, inner)[2:7] == [".###########.", *[".###.....###."] * 3, ".###########."]
    rings = [np.array(ring, float).reshape(-1, 2) for ring in (outer, inner)]
    assert shown(pixels(raster.parts(rings, SIZE))) == filled(outer)


def test_points_on_the_border_are_inside_of_the_picture():
    assert filled([-0.5, -1, 13.5, -1, 13.5, 9.5, -0.5, 9.5]) == ["#" * 13] * 9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 13), st.floats(0, 9)), min_size=3, max_size=8), st.integers(0, 1))
def test_outlines_equal_a_second_implementation(points, shift):
    """For every pixel the number of sides to the left of its centre: odd inside, even outside."""
    ring = np.array(points) + shift * 0.5
    ring = np.clip(ring, 0, [13, 9])
    try:
        mask = pixels(raster.polygon([ring], SIZE))
    except DataError:
        return
    for row, column in np.ndindex(*SIZE):
        x, y, sides = column + 0.5, row + 0.5, 0
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if (y0 <= y < y1 or y1 <= y < y0) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
                sides += 1
        assert mask[row, column] == sides % 2, (row, column)


def test_circles_and_turned_rectangles():
    mask = pixels(raster.polygon([raster.ellipse((6.5, 4.5), (3.4, 3.4))], SIZE))
    rows, columns = np.mgrid[:9, :13] + 0.5
    assert (mask == ((columns - 6.5) ** 2 + (rows - 4.5) ** 2 < 3.4**2)).all()
    turned = raster.turned(raster.rectangle(0, 0, 4, 2), 90)  # clockwise: to the right becomes downwards
    np.testing.assert_allclose(turned, [[0, 0], [0, 4], [-2, 4], [-2, 0]], atol=1e-9)


@pytest.mark.parametrize(
    ("ring", "message"),
    [
        ([1, 1, 5, 5], "2 different points, and needs three"),
        ([1, 1, 5, 5, 1, 1, 5, 5], "2 different points"),
        ([1, 1, 15, 1, 15, 8], r"the point \(15, 1\) is outside of the picture, which is 13 wide and 9 high"),
        ([1, 1, 5, 1, 5, -2], r"the point \(5, -2\) is outside"),
        ([1, 1, 11, 7, 11, 1, 1, 7], r"the outline crosses itself near \(6, 4\)"),
    ],
)
def test_outlines_that_mean_nothing_are_refused(ring, message):
    with pytest.raises(DataError, match=message):
        filled(ring)


def test_a_loop_of_a_trembling_hand_is_drawn():
    assert filled([1, 1, 11, 1, 11, 7, 5, 7, 6, 8, 5.5, 8, 6.5, 7, 1, 7])[3] == ".##########.."


def area(ring):
    x, y = np.transpose(ring)
    return abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def first_crossing(ring):
    """Every edge beside every later one, with the two loops drawn out."""
    n = len(ring)
    for i in range(n):
        for j in range(i + 2, n - (i == 0)):
            (a, b), (c, d) = ((ring[k], ring[(k + 1) % n]) for k in (i, j))
            sides = np.stack([b - a, c - d], axis=1)
            share, other = np.linalg.solve(sides, c - a) if abs(np.linalg.det(sides)) > 1e-9 else (0, 0)
            if not (0 < share < 1 and 0 < other < 1):
                continue
            point = a + share * (b - a)
            loops = area([point, *ring[i + 1 : j + 1]]), area([point, *ring[j + 1 :], *ring[: i + 1]])
            if min(loops) > max(4.0, 0.01 * max(area(ring), *loops)):
                return point
    return None


@pytest.mark.parametrize("tremble", [0.0, 3.0, 8.0, 200.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_first_crossing_that_counts_equals_a_second_implementation(monkeypatch, tremble, seed):
    monkeypatch.setattr(raster, "FEW", 4)
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    ring = np.stack([400 + 200 * np.cos(angles), 400 + 100 * np.sin(3 * angles) + 200 * np.sin(angles)], axis=1)
    ring += np.random.default_rng(seed).uniform(-tremble, tremble, ring.shape)
    expected, point = first_crossing(ring), raster._crossing(ring)
    assert (point is None) == (expected is None)
    np.testing.assert_allclose(point or (), () if expected is None else expected, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=3, max_size=30))
def test_crossings_do_not_depend_on_how_edges_are_divided(points):
    ring = np.array(points, float)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raster, "FEW", 2)
        divided = raster._crossing(ring)
        patch.setattr(raster, "FEW", 1000)
        assert raster._crossing(ring) == divided


def test_outlines_of_many_points_are_quick():
    angles = np.linspace(0, 2 * np.pi, 20000, endpoint=False)
    radius = 400 + 20 * np.sin(50 * angles)
    ring = np.stack([500 + radius * np.cos(angles), 500 + radius * np.sin(angles)], axis=1)
    begin = time.process_time()
    assert raster.polygon([ring], (1000, 1000)).pixels.any()
    assert time.process_time() - begin < 5  # all pairs take four times as long


# ----- run lengths; the texts are those of pycocotools 2.0.11

NOISE = [
    ".###.......#.", "#.#..#.##...#", ".....##..#...", "#.#.##.#.#..#", ".###..##.##.#",
    ".#.##........", "..........#..", ".#...#....#..", "#...#..#.#...",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("e3", ["." * 13] * 9),
        ("0e3", ["#" * 13] * 9),
        ("027000j2", ["###.........."] * 2 + ["." * 13] * 7),
        (":72J30M030M030M030M030M030M030M030M030M68",
         ["." * 13, ".###########.", *[".#.........#."] * 5, ".###########.", "." * 13]),
        ("111031O0NO01003OO13OK010O22N00N040L12ON082JN10M10O80H13", NOISE),
    ],
)  # fmt: skip
def test_the_run_lengths_of_coco(text, rows):
    assert shown(rle.runs(rle.coco_counts(text), SIZE, columns=True)) == rows


def packed(counts):
    """Run lengths in COCO's text: 5 bits a character, signed numbers, from the fourth on differences."""
    text = ""
    for i, count in enumerate(counts):
        number = count - (counts[i - 2] if i > 2 else 0)
        while True:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
            if not more:
                break
    return text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=12))
def test_the_text_of_run_lengths_is_read_back(counts):
    assert rle.coco_counts(packed(counts)) == counts


def test_runs_along_rows_begin_outside():
    assert shown(rle.runs([0, 2, 3, 1], (2, 3), columns=False)) == ["##.", "..#"]
    assert shown(rle.runs([0, 2, 3, 1], (2, 3), columns=True)) == ["#..", "#.#"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 6), st.booleans())
def test_runs_equal_a_second_implementation(counts, width, columns):
    """Pixel by pixel, as the documents of COCO (down the columns) and of CVAT (along the rows) describe it."""
    counts = [*counts, -sum(counts) % width or width]
    height = sum(counts) // width
    expected, at = np.zeros((height, width), bool), 0
    for i, count in enumerate(counts):
        for _ in range(count):
            place = (at % height, at // height) if columns else (at // width, at % width)
            expected[place] = i % 2 == 1
            at += 1
    np.testing.assert_array_equal(rle.runs(counts, (height, width), columns=columns), expected)


def test_the_mask_of_cvat_s_documentation():
    """The runs of its example, here at the picture's upper left corner."""
    runs = "3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7, 5, 3"
    attributes = {"rle": runs, "left": "0", "top": "0", "width": "13", "height": "15"}
    assert shown(pixels(cvat._mask(attributes)((15, 13)), (15, 13))) == [
        "...#####.....",
        "..#######....",
        ".#########...",
        *["###########.."] * 2,
        *["############."] * 2,
        *["#############"] * 2,
        *[".############"] * 2,
        "..###########",
        "...#########.",
        "....#######..",
        ".....#####...",
    ]


def test_the_bitmap_of_supervisely_s_documentation():
    """A ring of 3x3 pixels, whose upper left one is at [1, 1] of a picture of 5x5, as a palette with alpha."""
    ring = Image.fromarray(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8), "P")
    ring.putpalette([0, 0, 0, 255, 255, 255])
    buffer = io.BytesIO()
    ring.save(buffer, "PNG", transparency=0, bits=1)
    data = base64.b64encode(zlib.compress(buffer.getvalue())).decode()
    patch = supervisely._draw({"bitmap": {"origin": [1, 1], "data": data}}, (5, 5))
    assert shown(pixels(patch, (5, 5))) == [".....", ".###.", ".#.#.", ".###.", "....."]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rle.runs([3, 2], (2, 3), columns=True), "add up to 5 pixels, a picture of 2x3 .* has 6"),
        (lambda: rle.runs([7, -1], (2, 3), columns=True), "6 pixels, some negative"),
        (lambda: rle.coco_counts("e3ä"), "contain 'ä'"),
        (lambda: rle.coco_counts("e"), "cut off"),
        (lambda: rle.label_studio([0, 0, 0, 4, 57], (1, 1)), "cut off"),
        (lambda: rle.label_studio(brush(np.zeros((2, 2), bool)), (3, 3)), "16 values, a picture of 3x3 .* has 36"),
        (lambda: rle.label_studio([256], (1, 1)), "no bytes"),
    ],
)
def test_run_lengths_of_another_picture_are_refused(call, message):
    with pytest.raises(DataError, match=message):
        call()


def brush(mask):
    """Label Studio's run lengths of a mask, as its format describes them: alternately repeated and plain values."""
    values = np.repeat(np.where(mask, 255, 0).ravel(), 4)
    bits = f"{len(values):032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    place = 0
    while place < len(values):
        count = 1
        while place + count < len(values) and values[place + count] == values[place] and count < 65536:
            count += 1
        if count == 4:  # a pixel alone, as plain values of the shortest length field
            bits += f"0{0:02b}{3:03b}" + f"{values[place]:08b}" * 4
        else:
            bits += f"1{3:02b}{count - 1:016b}{values[place]:08b}"
        place += count
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=35, max_size=35))
def test_the_brush_of_label_studio(bits):
    mask = np.array(bits).reshape(5, 7)
    assert (rle.label_studio(brush(mask), (5, 7)) == mask).all()
