"""Reading frames of video files and cameras, and writing video files; PyAV (FFmpeg) is imported on first use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.data.images import DataError
from seg_jax.runtime.extras import install_command

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm")

# Platform -> (FFmpeg's format, name of the camera with a number).
CAMERAS = {
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}"),
    "win32": ("dshow", "video={}"),
}


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise DataError(f"videos and cameras need PyAV. Add it: {install_command('video')}") from error
    return av


AV_TIME_BASE = 1_000_000  # FFmpeg's unit of time, in a second
# Frames that a whole file may lack at its end: durations are rounded, and that of the last frame is often unknown.
MISSING = 2


class Frames:
    """The frames of a video file or a camera, in order.

    Args:
      source: path of a video file, or the number of a camera.

    Attributes:
      rate: frames per second.
      count: number of frames, 0 if unknown.

    Raises:
      DataError: the source cannot be opened, or has no picture.
    """

    def __init__(self, source: Path | int):
        self._source, av = source, _av()
        try:
            if isinstance(source, int):
                kind, name = CAMERAS.get(sys.platform, CAMERAS["linux"])
                self._container = av.open(name.format(source), format=kind)
            else:
                self._container = av.open(str(source))
            self._stream = self._container.streams.video[0]
        except (av.FFmpegError, OSError, IndexError) as error:
            what = f"camera {source}" if isinstance(source, int) else str(source)
            raise DataError(f"{what} cannot be opened as a video ({error}).") from error
        self.rate = Fraction(self._stream.average_rate or 25)
        self.count = int(self._stream.frames)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields frames, uint8 [h w 3]; raises DataError where the file is damaged, or ends before its header says."""
        end = start = float(self._container.start_time or 0) / AV_TIME_BASE
        try:
            for packet in self._container.demux():  # of sound, too: it may be longer than the pictures
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream.index == self._stream.index:
                    for frame in packet.decode():
                        yield frame.to_ndarray(format="rgb24")
        except _av().FFmpegError as error:
            raise DataError(f"{self._source} cannot be decoded any further ({error}).") from error
        seconds = self._seconds()
        if seconds - (end - start) > MISSING / self.rate:
            raise DataError(
                f"{self._source} is cut off: it ends after {end - start:.1f} of the {seconds:.1f} seconds in its "
                "header. Copy it again; --frames=N takes the first N frames of it."
            )

    def _seconds(self) -> float:
        """The duration in the header; 0 if it has none. FFmpeg derives that of AVI from the size of the file."""
        if self._container.format.name == "avi":
            return float(self.count / self.rate)
        return float(self._container.duration or 0) / AV_TIME_BASE

    def close(self) -> None:
        """Closes the file or the camera."""
        self._container.close()


class VideoWriter:
    """Writes frames of one size as H.264; the file gets its name when it is complete.

    Args:
      path: path of the .mp4 file.
      rate: frames per second.
    """

    def __init__(self, path: Path, *, rate: Fraction):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._rate = path, rate
        self._stream: Any = None
        self._temporary = path.with_name(f".{path.stem}.part.mp4")
        self._container = _av().open(str(self._temporary), "w")

    def write(self, frame: np.ndarray) -> None:
        """Writes a frame, uint8 [h w 3]; an odd last row or column is left out, since H.264 needs even sizes."""
        height, width = (n - n % 2 for n in frame.shape[:2])
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=self._rate)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        picture = _av().VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
        self._container.mux(self._stream.encode(picture))

    def close(self, *, whole: bool) -> None:
        """Finishes the file; without `whole` it is removed."""
        if whole and self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()
        if whole:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink(missing_ok=True)
