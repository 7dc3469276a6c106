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


def working_size(size: Size, trained: Size | None) -> Size:
    """The (height, width) at which the network gets an image of `size`; without `trained` this very size.

    The shorter side becomes that of the training images. Proportions are kept to within half a bucket, and images with
    the proportions of the training images get exactly their size. Nothing is enlarged by more than `MAX_FACTOR`, nor to
    more than `MAX_ENLARGED` pixels.

    Raises:
      DataError: it is more than `MAX_WHOLE` pixels.
    """
    if trained is None:
        return size
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


def require_room(size: Size, trained: Size | None, window: Size | None, *, classes: int, megapixels: int) -> None:
    """Refuses a photograph that needs too much memory: more than `MAX_BYTES` for probabilities, or too many pixels.

    Args:
      size: (height, width) of the photograph, in windows at the scale at which they slide over it.
      trained: (height, width) of the training images; None: the photograph passes at its own size.
      window: (height, width) of the windows that it passes in; None: it passes as a whole.
      classes: channels of the probabilities, float32.
      megapixels: largest number of million pixels, also after padding to the window.

    Raises:
      DataError: with the number of pixels or bytes, and the cure.
    """
    if window:
        padded = max(size[0], window[0]) * max(size[1], window[1])
        if padded > megapixels * 10**6:
            raise DataError(f"padded to the window, {padded:,} pixels. Use a smaller --window.")
        if window[0] * max(size[1], window[1]) * classes * 4 > MAX_BYTES:
            raise DataError("a row of windows would need more than 4 GiB. Use a --window of fewer rows.")
    elif trained:
        working_size(size, trained)
    elif math.prod(size) * classes * 4 > MAX_BYTES:
        raise DataError("its probabilities would need more than 4 GiB. Reduce it, or use --window=512x512.")
