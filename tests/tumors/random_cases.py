"""Seeded label maps of overlapping blocks, for tests that hold for any case."""

import numpy as np

from abdoseg.labels import ORGAN_IDS, TUMOR_ID


def random_labels(seed: int, shape=(26, 22, 18), organs: int = 8, tumors: int = 6) -> np.ndarray:
    """Give (x, y, z) uint8: blocks of organs, on top of them blocks of tumor, some of one voxel."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(shape, dtype=np.uint8)
    values = [*generator.choice(ORGAN_IDS, organs), *[TUMOR_ID] * tumors]
    for value in values:
        longest = 7 if value == TUMOR_ID else 14
        box = []
        for n in shape:
            start = int(generator.integers(0, n))
            box.append(slice(start, start + int(generator.integers(1, longest))))
        labels[tuple(box)] = value
    return labels
