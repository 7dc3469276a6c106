"""Frames of video files: those of whole ones, and files that were cut off."""

from fractions import Fraction

import numpy as np
import pytest

from seg_jax.data.images import DataError
from seg_jax.predict.video import Frames

av = pytest.importorskip("av")

SHAPES = {"mkv": "matroska", "avi": "avi", "m4v": "mp4"}


def film(path, frames=40, *, sound=0.0, last=None, options=None):
    """Writes 25 frames a second of noise, and `sound` seconds of silence; the last frame comes `last` seconds late."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", format=SHAPES[path.suffix[1:]], options=options or {}) as container:
        pictures = container.add_stream("mpeg4", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        silence = container.add_stream("ac3", rate=48000) if sound else None
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (48, 64, 3), np.uint8), format="rgb24")
            frame.time_base, frame.pts = Fraction(1, 25), i
            if last and i == frames - 1:
                frame.pts += int(25 * last)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode())
        if silence:
            for at in range(0, int(48000 * sound), 1536):
                frame = av.AudioFrame.from_ndarray(np.zeros((2, 1536), np.float32), format="fltp", layout="stereo")
                frame.rate, frame.pts = 48000, at
                container.mux(silence.encode(frame))
            container.mux(silence.encode())
    return path


def frames_of(path):
    frames = Frames(path)
    try:
        return [frame.shape for frame in frames]
    finally:
        frames.close()


FAST = {"movflags": "faststart"}  # the index of MP4 in front, so that a part of the file can be opened


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(("suffix", "options"), [("mkv", {}), ("avi", {}), ("m4v", FAST)])
def test_a_file_that_is_cut_off_is_no_whole_one(tmp_path, suffix, options, share):
    whole = film(tmp_path / f"whole.{suffix}", options=options)
    assert frames_of(whole) == [(48, 64, 3)] * 40
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(DataError, match=rf"cut\.{suffix} is cut off: it ends after [01]\.\d of the 1\.6 seconds"):
        frames_of(cut)


@pytest.mark.parametrize("suffix", ["mkv", "m4v"])
def test_pictures_may_end_before_the_sound(tmp_path, suffix):
    assert len(frames_of(film(tmp_path / f"a.{suffix}", sound=3.0))) == 40


@pytest.mark.parametrize("suffix", ["mkv", "m4v"])
def test_the_last_picture_may_stay_long(tmp_path, suffix):
    assert len(frames_of(film(tmp_path / f"a.{suffix}", last=2.0))) == 40


def test_a_file_without_a_duration_is_taken_as_it_is(tmp_path):
    path = film(tmp_path / "stream.mkv", options={"live": "1"})
    path.write_bytes(path.read_bytes()[:-20000])
    assert 0 < len(frames_of(path)) < 40


def test_the_first_frames_of_a_cut_file_can_be_had(tmp_path):
    path = film(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = Frames(path)
    assert [frame.shape for frame, _ in zip(frames, range(5), strict=False)] == [(48, 64, 3)] * 5
    frames.close()
