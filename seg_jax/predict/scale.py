"""The size at which a photograph passes through the network, and what its size may demand of the memory."""

from __future__ import annotations

import math

from seg_jax.config import Size
from seg_jax.data.decoder import DataError

BUCKET = 32  # longer sides are rounded to multiples of this, so that few shapes are compiled

# What a photograph's size may demand. Of 1x2048 pixels, enlarged until the shorter side is 512, half a gigapixel would
# pass through the network.
MAX_FACTOR = 32  # by which a side is enlarged
MAX_ENLARGED = 2**22  # pixels that a photograph is enlarged to, or those of the training images if they have more
MAX_WHOLE = 2**24  # pixels that pass through the network at once; more take windows
MAX_BYTES = 2**32  # of the probabilities that are kept at once


def working_size(size: Size, trained: Size) -> Size:
    """The (height, width) at which the network gets an image of `size`.

    The shorter side becomes that of the training images. Proportions are kept to within half a bucket, and images with
    the proportions of the training images get exactly their size. Nothing is enlarged by more than `MAX_FACTOR`, nor to
    more than `MAX_ENLARGED` pixels.

    Raises:
      DataError: it is more than `MAX_WHOLE` pixels.
    """
    wanted = min(trained) / min(size)
    room = math.sqrt(max(MAX_ENLARGED, math.prod(trained)) / math.prod(size))
    scale = min(wanted, max(1.0, min(MAX_FACTOR, room)))
    height, width = size[0] * scale, size[1] * scale
    if abs(height / trained[0] - 1) < 0.02 and abs(width / trained[1] - 1) < 0.02:
        return trained
    # A size that was bounded is rounded downwards.
    short = min(trained) if scale == wanted else max(BUCKET, int(min(height, width)) // BUCKET * BUCKET)
    long = max(BUCKET, round(max(height, width) / BUCKET) * BUCKET, short)
    if short * long > MAX_WHOLE:
        raise DataError(f"the network would see {short * long:,} at once, at most {MAX_WHOLE:,}. Use --window=512x512.")
    return (short, long) if size[0] <= size[1] else (long, short)


def require_windows(size: Size, window: Size, classes: int, *, megapixels: int) -> None:
    """Refuses a photograph whose windows need more than `MAX_BYTES`, or that a window pads to too many pixels.

    Raises:
      DataError: with the size that it would have.
    """
    padded = max(size[0], window[0]) * max(size[1], window[1])
    if padded > megapixels * 10**6:
        raise DataError(f"padded to the window, {padded:,} pixels. Use a smaller --window.")
    if window[0] * max(size[1], window[1]) * classes * 4 > MAX_BYTES:
        raise DataError("a row of windows would need more than 4 GiB. Use a --window of fewer rows.")


def require_whole(size: Size, classes: int) -> None:
    """Refuses a photograph whose probabilities, float32 at its own size, need more than `MAX_BYTES`.

    Raises:
      DataError: with the cure.
    """
    if math.prod(size) * classes * 4 > MAX_BYTES:
        raise DataError("its probabilities would need more than 4 GiB. Reduce it, or use --window=512x512.")
