"""The peer of two benchmarks: torch's DataLoader with albumentations; runs where these are installed.

python benchmarks/peer_dataloader.py CAMVID BATCH SECONDS WORKERS -> JSON: pairs a second from files, from memory;
of `benchmarks.input_pipeline`. With a fifth argument, the side of square crops of large photographs whose shorter side
is brought to 0.5 to 2 times this side, from files alone; of `benchmarks.large_photographs`.

It imports nothing from this project, so it can run in an environment of its own.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from torch.utils.data import DataLoader, Dataset


class Pairs(Dataset):
    """Augmented photographs and masks in SegNet's layout; `cached` keeps the decoded arrays in memory."""

    def __init__(self, root: Path, *, cached: bool, crop: int = 0):
        self.paths = [(path, root / "trainannot" / f"{path.stem}.png") for path in sorted((root / "train").iterdir())]
        self.augment = A.Compose(
            [
                A.HorizontalFlip(p=0.5),
                A.Affine(scale=(0.5, 2.0), rotate=(-10, 10), translate_percent=(-0.1, 0.1), fill_mask=255, p=1.0),
                A.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05, p=1.0),
                A.Normalize(),
                ToTensorV2(),
            ]
        )
        if crop:
            ratio = crop / min(self.decode(0)[1].shape)
            self.augment = A.Compose(
                [
                    A.RandomScale((0.5 * ratio - 1, 2 * ratio - 1), p=1.0),
                    A.RandomCrop(crop, crop, pad_if_needed=True, fill_mask=255),
                    A.HorizontalFlip(p=0.5),
                    A.Normalize(),
                    ToTensorV2(),
                ]
            )
        self.arrays = [self.decode(i) for i in range(len(self.paths))] if cached else None

    def __len__(self) -> int:
        return len(self.paths)

    def decode(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One pair, uint8."""
        photo, mask = self.paths[index]
        image = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
        return image, cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = self.arrays[index] if self.arrays else self.decode(index)
        augmented = self.augment(image=image, mask=mask)
        return augmented["image"], augmented["mask"]


def pairs_per_second(data: Pairs, batch: int, seconds: float, workers: int) -> float:
    """Pairs delivered per second once the workers are busy."""
    cv2.setNumThreads(0)
    count, begin = 0, None
    loader = DataLoader(data, batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=True)
    while begin is None or time.perf_counter() - begin < seconds:
        for images, _ in loader:
            if begin is None:
                begin = time.perf_counter()  # the first batch waits for the workers to start
            else:
                count += len(images)
    return count / (time.perf_counter() - begin)


if __name__ == "__main__":
    root, size, length, processes = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    crop = int(sys.argv[5]) if len(sys.argv) > 5 else 0
    rates = {
        name: pairs_per_second(Pairs(root, cached=cached, crop=crop), size, length, processes)
        for name, cached in (("files", False), ("memory", True))
        if not (crop and cached)
    }
    print(json.dumps(rates | {"torch": torch.__version__, "albumentations": A.__version__}))
