"""Training samples of a tumor network: one for each host organ with a tumor, out of a datalist with hosts."""

import os

import numpy as np

from abdoseg.datalist import load_cases
from abdoseg.files import CaseError
from abdoseg.labels import ORGAN_IDS
from abdoseg.tumors import NO_HOST, REST, family_of, family_organs

HOST_IDS = (NO_HOST, *ORGAN_IDS)


def load_host_cases(
    path: str | os.PathLike,
    family: str,
    validation: bool | None = None,
    healthy_per_tumor: float = 0.0,
    required: bool = False,
) -> list[dict]:
    """Give the samples of a family's tumor network: the training cases of a datalist, expanded by host organ.

    A case tells by ``"hosts": {organ id: number of tumor foci}`` which organs have tumors ("0": foci without host), and
    by ``"tumor_known"`` whether all its tumors are drawn. An organ that stands there with 0 foci, in a case whose
    tumors are known, is a healthy one. Cases without ``"hosts"`` are passed over. So the tumor is known in every
    sample, drawn by a person or by the cascade, and there is no unknown class to leave out of the loss.

    Parameters
    ----------
    path : the datalist.
    family : of host organs, a key of ``abdoseg.tumors.FAMILIES``, or "rest".
    validation : True keeps the cases that are held out, False the others, None both.
    healthy_per_tumor : healthy organs for each organ with a tumor, at most, spread evenly over the list; paper B
        takes none. For "rest" a healthy case is one without any tumor.
    required : raise where no organ with a tumor is left.

    Returns
    -------
    list of dict : ``{"id", "image", "label", "organ"}`` in the file's order; two kidneys with tumors make two samples;
    the organ is 0 for "rest".

    Raises
    ------
    CaseError
        If the file is faulty, no case in it has hosts, or a required sample is missing.
    ValueError
        If the family is unknown.
    """
    organs = family_organs(family)
    cases = load_cases(path, "training", validation=validation, required=required)
    told = [case for case in cases if "hosts" in case]
    if cases and not told:
        raise CaseError(f"{path}: no case tells the hosts of its tumors under 'hosts'; assign hosts to tumors first.")
    sick, healthy = [], []
    for case in told:
        hosts = _hosts(case, path)
        entry = {key: case[key] for key in ("id", "image", "label")}
        known = case.get("tumor_known") is True
        if family == REST:
            if any(count for organ, count in hosts.items() if family_of(organ) == REST):
                sick.append({**entry, "organ": NO_HOST})
            elif known and not any(hosts.values()):
                healthy.append({**entry, "organ": NO_HOST})
            continue
        sick += [{**entry, "organ": organ} for organ in organs if hosts.get(organ, 0)]
        healthy += [{**entry, "organ": organ} for organ in organs if known and hosts.get(organ) == 0]
    if required and not sick:
        raise CaseError(f"{path}: no case left has a tumor of the family {family!r}; its network cannot be trained.")
    count = min(len(healthy), round(healthy_per_tumor * len(sick)))
    return sick + [healthy[index] for index in np.linspace(0, len(healthy), count, endpoint=False).astype(int)]


def _hosts(case: dict, path: str | os.PathLike) -> dict[int, int]:
    hosts = case["hosts"]
    valid = isinstance(hosts, dict) and all(
        str(organ).isdecimal() and int(organ) in HOST_IDS and isinstance(count, int) and count >= 0
        for organ, count in hosts.items()
    )
    if not valid:
        raise CaseError(
            f"{path}: case {case['id']!r} has the hosts {hosts!r}; use organ ids 0 to 13 and numbers of tumor foci."
        )
    return {int(organ): count for organ, count in hosts.items()}
