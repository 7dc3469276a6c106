"""Directories with more than photographs and masks: what is taken, what is named, and when somebody is asked."""

import re

import numpy as np
import pytest
from PIL import Image

from seg_jax import data
from seg_jax.curate import propose, roles
from seg_jax.curate.__main__ import configuration, main
from seg_jax.curate.proposal import unfit
from seg_jax.data.images import DataError

# How ml_collections loads a configuration file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

RNG = np.random.default_rng(0)
N = 6
COLORS = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0]], np.uint8)


def truth(i):
    """Three classes whose places differ from file to file."""
    mask = np.zeros((24, 32), np.uint8)
    mask[:, 4 + 3 * i :] = 1
    mask[4 + 2 * i : 12 + 2 * i, 8:20] = 2
    return mask


def photo(i):
    return np.clip(60 + 50 * truth(i)[..., None] + RNG.integers(-40, 40, (24, 32, 3)), 0, 255).astype(np.uint8)


def overlay(i):
    return (photo(i) // 2 + COLORS[truth(i)] // 2).astype(np.uint8)


def height(i):
    return np.add.outer(np.arange(24) * 900 + i, np.arange(32) * 300).astype(np.uint16)


def grey(i):
    return photo(i)[..., 0]


def view(i):
    """A field of view: the same disc in all files, but for a few pixels."""
    y, x = np.mgrid[:24, :32]
    disc = ((y - 12) ** 2 + (x - 16) ** 2 < 140).astype(np.uint8) * 255
    disc[12, 4 + i % 2] = 0
    return disc


def reader(i):
    return np.roll(truth(i), 1, axis=1)


def make(root, **kinds):
    """Files of several kinds: path with {i} -> function of i, or an array for all."""
    for pattern, function in kinds.items():
        for i in range(N):
            path = root / pattern.format(i=i)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(function(i)).save(path)
    return root


def pairs_of(root, out, **options):
    """(photograph, mask) below the directory of the examples that the written configuration reads, and the proposal."""
    proposal = propose.propose(root, **options)
    propose.write(proposal, out)
    config = configuration([f"--config={out}"])
    pairs = set()
    for split in (config.data.train_split, config.data.val_split):
        examples = data.load(config, split)
        assert not examples.bad
        for i, files in enumerate(examples.files):
            examples.read(i)
            pairs.add(tuple(path.relative_to(root).as_posix() for path in files))
    return pairs, proposal


SETS = {
    "labelme": ("s{i}_json/img.png", "s{i}_json/label.png", {"s{i}_json/label_viz.png": overlay}),
    "overlays in a directory": ("images/{i}.png", "masks/{i}.png", {"overlays/{i}.png": overlay}),
    "overlays beside": ("all/s{i}.png", "all/s{i}_mask.png", {"all/s{i}_overlay.png": overlay}),
    "heights": ("image/{i}.png", "label/{i}.png", {"height/{i}.png": height}),
    "heights without words": ("a/{i}.png", "b/{i}.png", {"c/{i}.png": height}),
    "everything in a directory": (
        "{i:04}/rgb.png", "{i:04}/label.png",
        {"{i:04}/depth.png": height, "{i:04}/normals.png": photo, "{i:04}/inst.png": lambda i: truth(i) * 9 + i % 2}),
    "infra-red": ("s{i}/rgb.png", "s{i}/gt.png", {"s{i}/nir.png": grey}),
    "infra-red by suffix": ("x/s{i}_rgb.png", "x/s{i}_label.png", {"x/s{i}_nir.png": grey}),
    "fields of view": ("images/{i}_training.png", "truth/{i}_manual.png", {"mask/{i}_training_mask.png": view}),
    "colours": ("photos/s{i}.png", "out/s{i}_mask.png", {"out/s{i}_color.png": lambda i: COLORS[truth(i)]}),
    "instances": ("p/s{i}.png", "p/s{i}_semantic.png", {"p/s{i}_instance.png": lambda i: truth(i) * 20 + i}),
    "predictions": ("images/{i}.png", "masks/{i}.png", {"predictions/{i}.png": reader}),
    "objects of VOC": (
        "JPEGImages/{i}.png", "SegmentationClass/{i}.png", {"SegmentationObject/{i}.png": lambda i: truth(i) * 7}),
    "false colours": ("o/p_{i}_RGB.png", "l/p_{i}_label.png", {"o/p_{i}_IRRG.png": photo}),
    "heights with zeros": ("rgb/{i}.png", "gt/{i}.png", {"dsm/{i:03}.png": height}),
    "the same mask for all": ("a/{i}.png", "b/{i}.png", {"c/{i}.png": view}),
    "edges": ("images/{i}.png", "annotations/{i}.png", {"edges/{i}.png": lambda i: (truth(i) == 2).astype(np.uint8)}),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_the_photograph_and_the_mask_among_others(tmp_path, name):
    image, mask, others = SETS[name]
    root = make(tmp_path / "d", **{image: photo, mask: truth}, **others)
    pairs, proposal = pairs_of(root, tmp_path / "my.py")
    assert pairs == {(image.format(i=i), mask.format(i=i)) for i in range(N)}
    assert "; not used" in proposal.summary
    assert unfit(proposal, 0) == []  # what was left out on purpose is no file that was not understood


def test_two_readers_are_asked_for(tmp_path, capsys):
    kinds = {"images/{i}.png": photo, "1st_manual/{i}.png": truth, "2nd_manual/{i}.png": reader}
    root = make(tmp_path / "d", **kinds)
    with pytest.raises(DataError, match="each example has 2 files that may be its mask") as error:
        propose.propose(root)
    for place in ("1st_manual/*.png", "2nd_manual/*.png"):
        assert f"--masks='{place}'  {place}: {N} files, one band" in str(error.value)
    assert main(["inspect", str(root), f"--out={tmp_path / 'a.py'}"]) == 1
    (option,) = re.findall(r"--masks='(2nd[^']*)'", capsys.readouterr().err)  # what the message says is done
    pairs, _ = pairs_of(root, tmp_path / "my.py", masks=option)
    assert pairs == {(f"images/{i}.png", f"2nd_manual/{i}.png") for i in range(N)}
    assert main(["inspect", str(root), f"--out={tmp_path / 'n' / 'b.py'}", f"--masks={option}"]) == 0


def test_every_candidate_has_a_line(tmp_path):
    kinds = {"images/{i}.png": photo, "gt/{i}_overlay.png": lambda i: COLORS[truth(i)]}
    kinds |= {f"gt/{{i}}_reader{n}.png": reader for n in "abc"}
    with pytest.raises(DataError, match="each example has 4 files that may be its mask") as error:
        propose.propose(make(tmp_path / "d", **kinds))
    assert re.findall(r"--masks='([^']+)'", str(error.value)) == [
        f"gt/*_{kind}.png" for kind in ("overlay", "readera", "readerb", "readerc")
    ]


def test_two_masks_whose_names_say_nothing_are_asked_for(tmp_path):
    kinds = {"a/{i}.png": photo, "b/{i}.png": truth, "c/{i}.png": lambda i: (truth(i) == 2).astype(np.uint8)}
    with pytest.raises(DataError, match=r"--masks='b/\*\.png'.*\n.*--masks='c/\*\.png'"):
        propose.propose(make(tmp_path / "d", **kinds))


def test_videos_are_no_kinds(tmp_path):
    root = tmp_path / "d"
    for video in ("v0", "v1", "v2", "v3"):
        make(root, **{f"x/{video}/{{i}}.png": photo, f"y/{video}/{{i}}.png": view if video == "v1" else truth})
    pairs, _ = pairs_of(root, tmp_path / "my.py")
    assert len(pairs) == 4 * N


def test_two_photographs_are_asked_for(tmp_path):
    kinds = {"s/{i}_left.png": photo, "s/{i}_right.png": photo, "s/{i}_mask.png": truth}
    root = make(tmp_path / "d", **kinds)
    with pytest.raises(DataError, match=r"2 files that may be its photograph:\n  --images='s/\*_left.png' "):
        propose.propose(root)
    pairs, _ = pairs_of(root, tmp_path / "my.py", images="s/*_left.png")
    assert pairs == {(f"s/{i}_left.png", f"s/{i}_mask.png") for i in range(N)}
    with pytest.raises(DataError, match=r"--images=x/\*: no image file below .* matches it"):
        propose.propose(root, images="x/*")


def test_the_only_masks_are_taken_even_if_they_are_alike(tmp_path):
    root = make(tmp_path / "d", **{"images/{i}.png": photo, "masks/{i}.png": view})
    pairs, proposal = pairs_of(root, tmp_path / "my.py")
    assert len(pairs) == N and "not used" not in proposal.summary


def test_kinds_with_counterparts_of_their_own_are_kept(tmp_path):
    """Names repeat in another part of the data; nothing of it is passed over without a word."""
    root = make(tmp_path / "d", **{"images/{i}.png": photo, "masks/{i}.png": truth, "x/i/{i}.png": photo})
    make(root, **{"x/m/{i}.png": truth})
    proposal = propose.propose(root)
    assert proposal.files[0] == 4 * N and "not used" in proposal.summary
    assert unfit(proposal, 0)


# ----- odd files


ODD = {  # photographs and masks, [all others, number 1] where one is odd, and what is said of it
    "a photograph among masks": (photo, [truth, photo], "masks/1.png contains colours, the other masks contain values"),
    "a grey photograph among masks": (photo, [truth, grey], "masks/1.png looks like a photograph"),
    "a mask among photographs": ([photo, truth], truth, "images/1.png looks like a mask"),
}


@pytest.mark.parametrize("kind", ODD)
def test_one_odd_file_is_named_and_left_out(tmp_path, kind):
    def drawing(draw):
        return draw if callable(draw) else lambda i: draw[i == 1](i)

    photographs, masks, said = ODD[kind]
    root = make(tmp_path / "d", **{"images/{i}.png": drawing(photographs), "masks/{i}.png": drawing(masks)})
    pairs, proposal = pairs_of(root, tmp_path / "my.py")
    assert pairs == {(f"images/{i}.png", f"masks/{i}.png") for i in range(N) if i != 1}
    assert said in proposal.summary and proposal.files == (2 * N, 2 * N - 2)
    assert (tmp_path / "my_pairs.csv").read_text().splitlines()[:2] == ["image,mask", "images/0.png,masks/0.png"]


def test_without_a_majority_nothing_is_odd(tmp_path):
    root = make(tmp_path, **{"a{i}.png": lambda i: photo(i) if i % 2 else truth(i), "g{i}.png": grey})
    files = sorted(root.glob("a*.png"))
    assert roles.odd_masks(files) == roles.odd_photographs(files) == roles.odd_masks([]) == {}
    assert roles.odd_photographs([*root.glob("a[135].png"), *root.glob("g0.png")]) == {}  # grey, but no mask


def test_photographs_of_low_contrast(tmp_path):
    def dark(i):
        return RNG.integers(10, 40, (24, 32), np.uint8)

    root = make(tmp_path / "d", **{"images/{i}.png": dark, "masks/{i}.png": truth})
    pairs, _ = pairs_of(root, tmp_path / "my.py")
    assert pairs == {(f"images/{i}.png", f"masks/{i}.png") for i in range(N)}
