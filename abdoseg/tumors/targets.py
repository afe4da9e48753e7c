"""What the organ network of the cascade learns: the organs without the tumor class, enclosing their tumors."""

import numpy as np

from abdoseg.labels import BACKGROUND_ID, TUMOR_ID
from abdoseg.tumors.hosts import host_map


def organ_target(labels: np.ndarray, enclose: bool = True) -> np.ndarray:
    """Turn a label map of organs and tumors into one of organs alone.

    Paper B's notebook leaves a hole at a tumor whose host a person drew, and none where the host is a pseudo label
    (papers-spec.md 3.2), so that its network learns both; and holes make the rules that ask for overlap fail.

    Parameters
    ----------
    labels : (x, y, z) uint8, 0..14.
    enclose : give tumor voxels to the focus's host organ, background where it has none. False: always background, a
        hole, as the notebook does.

    Returns
    -------
    New (x, y, z) uint8 array, 0..13; only tumor voxels differ from ``labels``.
    """
    target = np.array(labels)
    hosts = host_map(labels) if enclose else np.uint8(TUMOR_ID)
    np.copyto(target, hosts, where=labels == TUMOR_ID)
    target[target == TUMOR_ID] = BACKGROUND_ID
    return target
