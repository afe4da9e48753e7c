"""Datalists: case ids, filters, absolute paths, and one sentence for every fault."""

import json
from pathlib import Path

import pytest

from abdoseg.datalist import case_id, known_classes, load_cases, write_datalist
from abdoseg.files import CaseError
from abdoseg.labels import CLASS_IDS, ORGAN_IDS


def entry(name: str, kind: str = "weak", **more) -> dict:
    return {"id": name, "image": f"images/{name}_0000.nii.gz", "label": f"/data/{name}.nii.gz", "kind": kind, **more}


@pytest.fixture
def datalist() -> dict:
    return {
        "training": [
            entry("0001", "strong", annotated_classes=[1, 13], validation=True, teacher_validation=False),
            entry("0002", "strong", validation=False, teacher_validation=True),
            entry("0003", "weak", validation=False, annotated_classes=[14]),
        ],
        "unlabeled": [{"id": "0004", "image": "0004_0000.nii.gz", "kind": "unlabeled", "annotated_classes": []}],
        "testing": [{"id": "0005", "image": "0005_0000.nii.gz", "kind": "test"}],
        "excluded": [{"id": "0006", "reason": "broken"}],
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FLARE23_0001_0000.nii.gz", "FLARE23_0001"),
        ("/a/b.nii/FLARE23_0001.nii.gz", "FLARE23_0001"),
        ("0001.nii", "0001"),
        (Path("imagesTr/0001_0000.nii"), "0001"),
        ("scan_0000_0000.nii.gz", "scan_0000"),
        ("ct.v2.nii.gz", "ct.v2"),
        ("0007", "0007"),
        ("Mu\u0308ller_0000.nii.gz", "M\u00fcller"),  # u and its dots, two characters as macOS may write them
    ],
)
def test_case_id(name, expected):
    assert case_id(name) == expected


@pytest.mark.parametrize(
    ("entry", "known"),
    [
        ({"kind": "weak", "annotated_classes": [14, 1]}, [1, 14]),
        ({"kind": "weak", "annotated_classes": [14, 1], "filled_classes": [5, 2]}, [1, 2, 5, 14]),
        ({"kind": "unlabeled", "annotated_classes": [], "filled_classes": [*ORGAN_IDS]}, [*ORGAN_IDS]),
        ({"kind": "strong", "annotated_classes": [1, 14]}, [1, 14]),
        # Entries that do not tell.
        ({"kind": "strong"}, [*ORGAN_IDS]),
        ({"kind": "weak"}, []),
        ({"kind": "unlabeled", "filled_classes": [3]}, [3]),
        ({"kind": "test"}, [*CLASS_IDS]),
        ({"image": "a.nii.gz", "label": "b.nii.gz"}, [*CLASS_IDS]),
    ],
)
def test_what_is_known_of_a_case(entry, known):
    assert known_classes(entry) == known


def test_relative_paths_count_from_the_file_and_absolute_ones_stay(tmp_path, datalist, monkeypatch):
    write_datalist(tmp_path / "work" / "datalist.json", datalist)
    monkeypatch.chdir(tmp_path)
    first = load_cases("work/datalist.json")[0]
    assert first["image"] == str(tmp_path / "work" / "images" / "0001_0000.nii.gz")
    assert first["label"] == "/data/0001.nii.gz"
    assert first["id"] == "0001"
    assert first["annotated_classes"] == [1, 13]


def test_a_list_that_was_edited_on_windows_is_read(tmp_path, datalist):
    (tmp_path / "datalist.json").write_text(json.dumps(datalist), encoding="utf-8-sig")
    assert [case["id"] for case in load_cases(tmp_path / "datalist.json", kind="strong")] == ["0001", "0002"]


def test_a_folder_above_is_that_of_the_list_itself_also_where_its_folder_is_a_link(tmp_path):
    (tmp_path / "disk" / "lists").mkdir(parents=True)
    (tmp_path / "disk" / "0001.nii.gz").write_text("scan")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "lists")
    entry = {"id": "0001", "image": "../0001.nii.gz", "label": "../0001.nii.gz", "kind": "strong"}
    write_datalist(tmp_path / "disk" / "lists" / "datalist.json", {"training": [entry]})
    for folder in (tmp_path / "disk" / "lists", tmp_path / "link"):
        (case,) = load_cases(folder / "datalist.json")
        assert Path(case["image"]).read_text() == "scan"


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ({}, ["0001", "0002", "0003"]),
        ({"kind": "strong"}, ["0001", "0002"]),
        ({"kind": ["strong", "weak"], "validation": False}, ["0002", "0003"]),
        ({"validation": True}, ["0001"]),
        ({"kind": "strong", "teacher_validation": False}, ["0001"]),
        ({"kind": "strong", "teacher_validation": True}, ["0002"]),
        ({"section": "unlabeled"}, ["0004"]),
        ({"section": ["training", "unlabeled"], "kind": ["weak", "unlabeled"]}, ["0003", "0004"]),
        ({"section": "testing"}, ["0005"]),
    ],
)
def test_cases_by_section_kind_and_split(tmp_path, datalist, arguments, ids):
    write_datalist(tmp_path / "datalist.json", datalist)
    assert [case["id"] for case in load_cases(tmp_path / "datalist.json", **arguments)] == ids


def test_a_required_case_that_is_missing_is_named(tmp_path, datalist):
    write_datalist(tmp_path / "datalist.json", datalist)
    assert load_cases(tmp_path / "datalist.json", kind="strong", validation=True, required=True)
    datalist["training"] = [case for case in datalist["training"] if case["kind"] != "strong"]
    write_datalist(tmp_path / "datalist.json", datalist)
    assert load_cases(tmp_path / "datalist.json", kind="strong") == []
    with pytest.raises(CaseError, match=r"datalist\.json: has no strong case left to take; .* one in training"):
        load_cases(tmp_path / "datalist.json", kind="strong", required=True)


def test_missing_file_section_and_kind_are_named(tmp_path, datalist):
    with pytest.raises(ValueError, match=r"nowhere\.json: there is no such datalist"):
        load_cases(tmp_path / "nowhere.json")
    del datalist["unlabeled"]
    write_datalist(tmp_path / "datalist.json", datalist)
    with pytest.raises(ValueError, match="no section 'unlabeled'; this datalist has training, testing"):
        load_cases(tmp_path / "datalist.json", "unlabeled")
    with pytest.raises(ValueError, match="Unknown kind of case 'strnog'"):
        load_cases(tmp_path / "datalist.json", kind="strnog")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match=r"broken\.json: not a JSON file"):
        load_cases(tmp_path / "broken.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 1}, "entry 1 of section 'training' needs the key 'id' with a text value, not 1"),
        ({"image": None}, "needs the key 'image'"),
        ({"label": ""}, "needs the key 'label'"),
        ({"kind": "test"}, "'0002'.*kind 'test'; use 'strong' or 'weak'"),
        ({"annotated_classes": [0, 1]}, "'0002'.*annotated_classes"),
        ({"filled_classes": [15]}, r"'0002'.*filled_classes \[15\]; use a list of ids from 1 to 14"),
        ({"validation": "yes"}, "'0002'.*validation = 'yes'; use true or false"),
        ({"id": "0001"}, "case '0001' stands twice"),
    ],
)
def test_schema_faults_are_refused_on_writing_and_on_reading(tmp_path, datalist, change, message):
    datalist["training"][1].update(change)
    target = tmp_path / "datalist.json"
    with pytest.raises(ValueError, match=message):
        write_datalist(target, datalist)
    assert not target.exists()
    target.write_text(json.dumps(datalist))
    with pytest.raises(ValueError, match=message):
        load_cases(target)


@pytest.mark.parametrize("name", ["../0001", "a/b", "/etc/passwd", ".", "..", "x" * 250, "\ud800", "a\0b"])
def test_an_id_that_could_lead_out_of_a_folder_or_be_no_files_name_is_refused(datalist, tmp_path, name):
    datalist["testing"][0]["id"] = name
    with pytest.raises(CaseError, match=r"list\.json: entry 0 of section 'testing' has (the )?id '"):
        write_datalist(tmp_path / "list.json", datalist)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["image", "label"])
@pytest.mark.parametrize("value", ["a\0b", "\ud800", 5, ["x"]])
def test_a_path_that_no_file_system_takes_is_refused(datalist, tmp_path, key, value):
    datalist["testing"][0][key] = value
    with pytest.raises(CaseError, match=rf"list\.json: entry 0 of section 'testing' (has|needs the key) '?{key}"):
        write_datalist(tmp_path / "list.json", datalist)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 200_000, b"9" * 10_000, b"\xef\xbb\xbf{", b"null", b'{"excluded": 3}']
)
def test_a_file_that_is_no_datalist_is_named(tmp_path, content):
    (tmp_path / "list.json").write_bytes(content)
    with pytest.raises(CaseError, match=r"list\.json: (not a JSON file|a datalist is a JSON object|the section)"):
        load_cases(tmp_path / "list.json")
