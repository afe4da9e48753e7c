"""Samples of a tumor network: which organs of which cases, by hand."""

import pytest

from abdoseg.datalist import write_datalist
from abdoseg.files import CaseError
from abdoseg.host_cases import load_host_cases

HOSTS = {
    "a": ({"1": 2, "2": 1, "13": 3}, True, False),
    "b": ({"0": 1, "1": 0, "2": 0, "13": 1}, True, False),
    "c": ({"1": 0, "13": 0, "4": 0}, True, False),
    # Somebody looked at the liver alone.
    "d": ({"1": 1, "13": 0}, False, False),
    "e": ({"1": 1, "11": 2}, True, True),
    "f": ({"1": 0}, True, False),
}


@pytest.fixture
def datalist(tmp_path):
    def entry(name):
        hosts, known, validation = HOSTS[name]
        files = {"image": f"{name}_0000.nii.gz", "label": f"{name}.nii.gz", "kind": "weak"}
        return {"id": name, **files, "hosts": hosts, "tumor_known": known, "validation": validation}

    not_told = {"id": "g", "image": "g_0000.nii.gz", "label": "g.nii.gz", "kind": "strong"}
    write_datalist(tmp_path / "list.json", {"training": [*map(entry, HOSTS), not_told]})
    return tmp_path / "list.json"


def names(samples):
    return [(sample["id"], sample["organ"]) for sample in samples]


@pytest.mark.parametrize(
    ("family", "validation", "expected"),
    [
        ("liver", None, [("a", 1), ("d", 1), ("e", 1)]),
        ("liver", False, [("a", 1), ("d", 1)]),
        ("liver", True, [("e", 1)]),
        ("kidneys", None, [("a", 2), ("a", 13), ("b", 13)]),
        ("pancreas", None, []),
        # No host at all, and the stomach.
        ("rest", None, [("b", 0), ("e", 0)]),
    ],
)
def test_one_sample_an_organ_with_tumors(datalist, family, validation, expected):
    samples = load_host_cases(datalist, family, validation)
    assert names(samples) == expected
    for sample in samples:
        assert set(sample) == {"id", "image", "label", "organ"}
        assert sample["image"] == str(datalist.parent / f"{sample['id']}_0000.nii.gz")


@pytest.mark.parametrize(
    ("family", "share", "expected"),
    [
        # b, c and f have healthy livers; three tumors, so that 0.4 of them is one.
        ("liver", 0.4, [("b", 1)]),
        ("liver", 1, [("b", 1), ("c", 1), ("f", 1)]),
        ("liver", 9, [("b", 1), ("c", 1), ("f", 1)]),
        # Two of three, spread over the list.
        ("liver", 0.67, [("b", 1), ("c", 1)]),
        # Not the left kidney of d, whose tumors nobody knows.
        ("kidneys", 9, [("b", 2), ("c", 13)]),
        # Healthy all over.
        ("rest", 9, [("c", 0), ("f", 0)]),
    ],
)
def test_healthy_organs_where_all_tumors_are_known(datalist, family, share, expected):
    sick = load_host_cases(datalist, family)
    assert names(load_host_cases(datalist, family, healthy_per_tumor=share)) == names(sick) + expected


def test_healthy_organs_are_spread_over_the_list(tmp_path):
    def entry(index, foci):
        name = f"{index:02}"
        hosts = {"hosts": {"1": foci}, "tumor_known": True, "kind": "weak"}
        return {"id": name, "image": f"{name}_0000.nii.gz", "label": f"{name}.nii.gz", **hosts}

    write_datalist(tmp_path / "list.json", {"training": [entry(i, int(i < 4)) for i in range(16)]})
    samples = load_host_cases(tmp_path / "list.json", "liver", healthy_per_tumor=1)
    assert [sample["id"] for sample in samples] == ["00", "01", "02", "03", "04", "07", "10", "13"]


def test_what_is_missing_is_said(datalist, tmp_path):
    with pytest.raises(CaseError, match=r"no case left has a tumor of the family 'pancreas'"):
        load_host_cases(datalist, "pancreas", required=True)
    with pytest.raises(ValueError, match="Unknown family 'colon'"):
        load_host_cases(datalist, "colon")
    case = {"id": "g", "image": "g_0000.nii.gz", "label": "g.nii.gz", "kind": "strong"}
    write_datalist(tmp_path / "none.json", {"training": [case]})
    with pytest.raises(CaseError, match=r"none\.json: no case tells the hosts .* assign hosts to tumors first"):
        load_host_cases(tmp_path / "none.json", "liver")
    for hosts in ({"14": 1}, {"liver": 1}, {"1": -1}, {"1": "two"}, [1]):
        write_datalist(tmp_path / "bad.json", {"training": [{**case, "hosts": hosts}]})
        with pytest.raises(CaseError, match=r"bad\.json: case 'g' has the hosts .* organ ids 0 to 13"):
            load_host_cases(tmp_path / "bad.json", "liver")
