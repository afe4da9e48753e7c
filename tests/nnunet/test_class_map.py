"""Classes of other models in terms of ours."""

import json
from pathlib import Path

import pytest

from abdoseg.files import CaseError
from abdoseg.labels import NAMES
from abdoseg.nnunet.class_map import by_name, labels_of, read_class_map

FOLDER = Path("model")
LABELS = ["background", "spleen", "kidney_right", "kidney_left", "lung_upper_lobe_left"]


def test_our_own_names_are_known_in_any_order():
    for value, name in NAMES.items():
        assert by_name(name) == by_name("_".join(reversed(name.title().split()))) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kidney_right", 2),
        ("adrenal_gland_left", 8),
        ("inferior_vena_cava", 6),
        ("postcava", 6),
        ("Gall_Bladder", 9),
        ("oesophagus", 10),
        ("right adrenal", 7),
        ("tumour", 14),
        # Others that share words with ours.
        ("kidney_cyst_left", 0),
        ("kidney", 0),
        ("portal_vein_and_splenic_vein", 0),
        ("heart_atrium_left", 0),
        ("liver_tumor", 0),
        ("superior_vena_cava", 0),
    ],
)
def test_names_of_other_data_sets(name, value):
    assert by_name(name) == value


def test_without_a_file_the_names_decide():
    assert read_class_map(None, LABELS) == [0, 3, 2, 13, 0]
    with pytest.raises(CaseError, match=r"No class of the model \(femur, hip\) has the name of one of ours"):
        read_class_map(None, ["background", "femur", "hip"])


def test_a_file_decides_alone(tmp_path):
    (tmp_path / "map.yaml").write_text("kidney_right: right kidney\n3: 13\nlung_upper_lobe_left: 0\n")
    assert read_class_map(tmp_path / "map.yaml", LABELS) == [0, 0, 2, 13, 0]
    (tmp_path / "map.json").write_text(json.dumps({"spleen": "Spleen", "2": "kidney_right", "3": None}))
    assert read_class_map(tmp_path / "map.json", LABELS) == [0, 3, 2, 0, 0]
    (tmp_path / "map.json").write_text(json.dumps({"spleen": "Spleen"}), encoding="utf-8-sig")  # as on Windows
    assert read_class_map(tmp_path / "map.json", LABELS) == [0, 3, 0, 0, 0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("kidney: 2", "the model has no class 'kidney'; it has background, spleen, kidney_right"),
        ("9: 2", "the model has no class 9"),
        ("spleen: milt", "we have no class 'milt'; use one of 0 background, 1 liver"),
        ("spleen: 15", "we have no class 15"),
        ("background: liver", "must leave the model's background as it is"),
        ("spleen: 0", "map a class to one of ours"),
        ("- spleen", "must map names or ids of the model to ours"),
        ("spleen: [", "is neither YAML nor JSON"),
    ],
)
def test_a_faulty_file_is_named(content, words, tmp_path):
    (tmp_path / "map.yaml").write_text(content)
    with pytest.raises(CaseError, match=words) as caught:
        read_class_map(tmp_path / "map.yaml", LABELS)
    assert str(tmp_path / "map.yaml") in str(caught.value)
    with pytest.raises(CaseError, match=r"gone\.yaml does not exist"):
        read_class_map(tmp_path / "gone.yaml", LABELS)


def test_labels_of_a_dataset():
    labels = {"background": 0, "b": 2, "a": [1], "ignore": 3}
    assert labels_of({"labels": labels}, FOLDER) == ["background", "a", "b"]
    with pytest.raises(CaseError, match=r"trained on regions \('whole' is \[1, 2\]\)"):
        labels_of({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, FOLDER)
    with pytest.raises(CaseError, match=r"labels of dataset.json are \[0, 2\]"):
        labels_of({"labels": {"background": 0, "a": 2}}, FOLDER)
    many = {"background": 0, **{f"rib {value}": value for value in range(1, 257)}}
    with pytest.raises(CaseError, match="has 257 classes; a teacher has 256 at most"):
        labels_of({"labels": many}, FOLDER)
