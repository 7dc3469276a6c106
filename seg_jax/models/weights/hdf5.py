"""Arrays of HDF5 files, which may name other files of the machine (CVE-2026-1669 of Keras) and sizes beyond memory."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from seg_jax.models.weights.errors import WeightsError

ROOM = 100  # an array has at most this many times the bytes of the file; without stored chunks it may announce any size


def arrays(path: Path, content: io.BytesIO | None = None) -> tuple[dict[str, np.ndarray], bool]:
    """({name: array}, whether the names are those of Keras 3's layers in order).

    Args:
      path: the file.
      content: what it contains, if that is part of an archive.

    Raises:
      WeightsError: it is damaged, or takes anything from another file: by an external link, external storage, or a
        virtual data set.
    """
    import h5py

    found: dict[str, np.ndarray] = {}
    elsewhere = WeightsError(f"{path} takes arrays from another file, which is not opened. Save all in one file.")
    room = ROOM * path.stat().st_size

    links: list[object] = []  # an error raised in the visitor of links is replaced by one of h5py's locks

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise elsewhere
            if item.nbytes > room:
                raise WeightsError(f"{path}: {name} announces {item.nbytes:,} bytes. It is damaged; fetch it again.")
            found[name] = item[()]

    try:
        with h5py.File(content or path) as file:
            file.visititems_links(lambda name, link: links.append(link))
            if any(isinstance(link, h5py.ExternalLink) for link in links):
                raise elsewhere
            ordered = "layers" in file or "_layer_checkpoint_dependencies" in file
            file.get("model_weights", file).visititems(visit)
    except WeightsError:
        raise
    except Exception as error:  # of many kinds for damaged files
        raise WeightsError(f"{path} is not a whole HDF5 file ({error}); fetch it again.") from error
    return found, ordered
