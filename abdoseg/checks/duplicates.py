"""The same scan in a data set more than once, whatever its name, header or orientation."""

from collections.abc import Sequence

from abdoseg.checks.faults import Fault, fault

RANKS = {"testing": 0, "training": 1, "unlabeled": 2}


def duplicate_faults(cases: Sequence[dict], fingerprints: dict[str, str]) -> dict[str, Fault]:
    """Say which cases hold a scan that another case holds already.

    Of the same scans one stays: a test case before a training case (so that nothing is trained on that is scored), a
    training case before an unlabeled one, then the one with most annotated classes, then the first.

    Parameters
    ----------
    cases : ``{"id", "section", "image", ["annotated_classes"]}``.
    fingerprints : id of a case -> `abdoseg.checks.ImageTally.fingerprint` of its image.

    Returns
    -------
    Id of each case to be set aside -> its fault.
    """
    groups: dict[str, list[dict]] = {}
    for case in cases:
        groups.setdefault(fingerprints[case["id"]], []).append(case)
    faults = {}
    for same in groups.values():
        # Sorting keeps the order of equals.
        kept, *others = sorted(same, key=lambda case: (RANKS[case["section"]], -len(case.get("annotated_classes", ()))))
        for case in others:
            where = f"case {kept['id']} ({kept['section']})"
            remedy = "one scan is one case, so delete one of them, or merge their labels into one"
            faults[case["id"]] = fault(
                "duplicate", case["image"], f"has the same voxels as {kept['image']}, {where}", remedy
            )
    return faults
