"""Of the same scans one stays, and which one is fixed by what it is used for."""

import pytest

from abdoseg.checks import duplicate_faults


def case(name: str, section: str, *annotated: int) -> dict:
    classes = {"annotated_classes": list(annotated)} if annotated else {}
    return {"id": name, "section": section, "image": f"{name}.nii", **classes}


@pytest.mark.parametrize(
    ("cases", "set_aside"),
    [
        ([case("a", "training", 1), case("b", "training", 1)], ["b"]),
        ([case("a", "training", 1), case("b", "training", 1, 2)], ["a"]),
        ([case("a", "unlabeled"), case("b", "training", 14)], ["a"]),
        ([case("a", "training", *range(1, 14)), case("b", "testing")], ["a"]),
        ([case("a", "unlabeled"), case("b", "testing"), case("c", "training", 1)], ["a", "c"]),
    ],
)
def test_which_one_stays(cases, set_aside):
    prints = dict.fromkeys([one["id"] for one in cases], "same") | {"z": "other"}
    found = duplicate_faults([*cases, case("z", "training", 1)], prints)
    assert sorted(found) == set_aside
    (kept,) = (one for one in cases if one["id"] not in set_aside)
    for name, fault in found.items():
        assert fault.file == f"{name}.nii"
        assert f"the same voxels as {kept['image']}, case {kept['id']} ({kept['section']})" in fault.message


def test_different_scans_are_let_be():
    assert duplicate_faults([case("a", "training"), case("b", "testing")], {"a": "1", "b": "2"}) == {}
