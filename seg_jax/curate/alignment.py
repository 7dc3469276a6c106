"""Whether masks fit their photographs better transposed, mirrored or turned: borders of classes lie on edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seg_jax.data.images import orientation

MAX_SIDE = 512  # pixels; larger pictures are thinned out
CLEAR = 1.3  # ratio of the edges' strength under the borders from which one pose is better than another
MOST = 0.8  # share of the files that have to agree
LEAST = 4  # files

Pose = Callable[[np.ndarray], np.ndarray]

POSES: Mapping[str, Pose] = {
    "as they are": lambda a: a,
    "transposed": lambda a: a.T,
    "mirrored from left to right": lambda a: a[:, ::-1],
    "mirrored from top to bottom": lambda a: a[::-1],
    "turned by 180 degrees": lambda a: a[::-1, ::-1],
    "turned to the left": lambda a: np.rot90(a),
    "turned to the right": lambda a: np.rot90(a, -1),
    "transposed along the other diagonal": lambda a: a[::-1, ::-1].T,
}
# EXIF's orientation of a photograph -> what brings a mask that was drawn on the stored pixels upright.
UPRIGHT: Mapping[int, str] = {
    2: "mirrored from left to right",
    3: "turned by 180 degrees",
    4: "mirrored from top to bottom",
    5: "transposed",
    6: "turned to the right",
    7: "transposed along the other diagonal",
    8: "turned to the left",
}
BACK = {6: 8, 8: 6}  # orientations that another one undoes; the others undo themselves


class Fit(NamedTuple):
    """One example: its photograph, EXIF's orientation, and for each pose the strength of edges under the borders."""

    file: str
    turned: int
    edges: Mapping[str, float]

    def ratio(self, pose: str) -> float:
        """How much better a pose fits than the mask as it is."""
        return self.edges.get(pose, 0.0) / max(self.edges["as they are"], 1e-6)


def fit(file: str, image: np.ndarray, label: np.ndarray) -> Fit | None:
    """The strength of the photograph's edges under the borders of a mask in each pose; None without borders.

    Args:
      file: the photograph's file; '' for none.
      image: [h w c].
      label: class ids [h w].
    """
    step = -(-max(label.shape) // MAX_SIDE)
    grey = image[::step, ::step].mean(axis=-1)
    small = label[::step, ::step]
    edges, borders = _differences(grey), _differences(small.astype(np.int32)) > 0
    if not borders.any() or not edges.any():
        return None
    # The strongest edge nearby, since masks are drawn a pixel beside it.
    padded = np.pad(edges, 1)
    near = np.max([padded[i : i + len(edges), j : j + edges.shape[1]] for i in range(3) for j in range(3)], axis=0)
    strengths = {}
    for name, pose in POSES.items():
        if (posed := pose(borders)).shape == near.shape:
            strengths[name] = float(near[posed].mean() / near.mean())
    return Fit(file, orientation(Path(file)) if file else 1, strengths)


def _differences(a: np.ndarray) -> np.ndarray:
    """The sum of absolute differences to the next pixel to the right and below, [h w]."""
    return np.abs(np.diff(a, axis=0, append=a[-1:])) + np.abs(np.diff(a, axis=1, append=a[:, -1:]))


def misfits(fits: Sequence[Fit]) -> Iterator[tuple[str, str, str]]:
    """(kind of finding, file, message) where masks fit better in another pose, on strong evidence."""
    turned = [one for one in fits if one.turned in UPRIGHT]
    for one in turned:
        # A mask that was turned with its photograph, and should not have been, is turned back.
        pose = max(UPRIGHT[one.turned], UPRIGHT[BACK.get(one.turned, one.turned)], key=one.ratio)
        if one.ratio(pose) >= CLEAR:
            yield (
                "orientation",
                one.file,
                f"EXIF says how the photograph is turned (orientation {one.turned}), and its mask fits "
                f"{one.ratio(pose):.1f} times better {pose}; choose another data.exif, or save both upright without "
                "EXIF's orientation.",
            )
    others = [one for one in fits if one not in turned]
    better = {pose: [one for one in others if one.ratio(pose) >= CLEAR] for pose in POSES}
    pose = max(POSES, key=lambda pose: sum(one.ratio(pose) for one in others))
    if len(others) >= LEAST and len(better[pose]) >= MOST * len(others):
        ratio = float(np.median([one.ratio(pose) for one in others]))
        yield (
            "pose",
            better[pose][0].file,
            f"{len(better[pose])} of {len(others)} masks fit their photographs {ratio:.1f} times better {pose} (edges "
            "under the borders of classes); save them that way, such as mask.T for transposed ones.",
        )
