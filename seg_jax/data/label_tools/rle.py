"""Run-length encodings of masks: those of COCO, CVAT and Label Studio."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seg_jax.config import Size
from seg_jax.data.images import DataError

OPAQUE = 128  # alpha of Label Studio's brush from which on a pixel belongs to the object
AGAIN = "export the annotations again, from photographs of this size"


def runs(counts: Sequence[int], size: Size, *, columns: bool) -> np.ndarray:
    """bool [h w] from the lengths of runs, in turn outside and inside of the object.

    Args:
      counts: the lengths; the first one is outside, and may be 0.
      size: (height, width).
      columns: whether runs go down the columns, as in COCO, or along the rows, as in CVAT.

    Raises:
      DataError: a length is negative, or they do not add up to the number of pixels.
    """
    try:
        lengths = np.array(counts, np.int64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"the run lengths are no whole numbers ({error}); {AGAIN}") from error
    height, width = size
    if min(size) < 1 or (lengths < 0).any() or lengths.sum() != height * width:
        raise DataError(
            f"the runs of the mask add up to {lengths.sum()} pixels{', some negative' if (lengths < 0).any() else ''}, "
            f"a picture of {height}x{width} (height x width) has {height * width}; {AGAIN}"
        )
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return values.reshape(width, height).T if columns else values.reshape(height, width)


def coco_counts(text: str) -> list[int]:
    """The lengths of runs in COCO's compressed form.

    Each character has 5 bits of a number, least significant first, and a sixth that says whether another character
    follows; the numbers are signed, and from the fourth on differences to the number before the last one.

    Raises:
      DataError: the text has other characters, or ends within a number.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise DataError(f"the run lengths contain {character!r}, which COCO's encoding has not; {AGAIN}")
        number |= (code & 31) << shift
        shift += 5
        if not code & 32:
            number -= (1 << shift) if code & 16 else 0
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    if shift:
        raise DataError(f"the run lengths are cut off; {AGAIN}")
    return counts


def label_studio(content: Sequence[int], size: Size) -> np.ndarray:
    """bool [h w] from the bytes of Label Studio's brush: the alpha channel of an image of four channels.

    A stream of bits: 32 for the number of values, 5 for the bits of a value less one, four times 4 for the bits of a
    length less one; then for each run one bit (a value that repeats, or values one after another), two that select the
    bits of its length, the length less one, and the value or values.

    Raises:
      DataError: the bytes are cut off, or of an image of another size.
    """
    if any(not 0 <= value <= 255 for value in content):
        raise DataError(f"the brush has numbers outside of 0..255, which are no bytes; {AGAIN}")
    stream, position = bytes(content), 0

    def take(count: int) -> int:
        nonlocal position
        begin, position = position, position + count
        if position > 8 * len(stream):
            raise DataError(f"the brush's run lengths are cut off; {AGAIN}")
        part = int.from_bytes(stream[begin // 8 : -(-position // 8)], "big")
        return part >> -position % 8 & (1 << count) - 1

    number, word = take(32), take(5) + 1
    if number != 4 * size[0] * size[1]:
        raise DataError(
            f"the brush has {number} values, a picture of {size[0]}x{size[1]} (height x width) with four channels has "
            f"{4 * size[0] * size[1]}; {AGAIN}"
        )
    lengths = [take(4) + 1 for _ in range(4)]
    values = np.zeros(number, np.uint8)
    done = 0
    while done < number:
        repeats = take(1)
        end = done + 1 + take(lengths[take(2)])
        if end > number:
            raise DataError(f"the brush's runs exceed its number of values; {AGAIN}")
        if repeats:
            values[done:end] = take(word)
        else:
            values[done:end] = [take(word) for _ in range(end - done)]
        done = end
    return values.reshape(*size, 4)[..., 3] >= OPAQUE
