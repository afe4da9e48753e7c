"""Each layout from its files to the datalist: which case, for what, who looked for what, in our ids, sides right."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from abdoseg.datalist import load_cases
from abdoseg.files import CaseError
from tests.tools.layout_examples import (
    EXAMPLES,
    amos,
    body,
    btcv,
    folders,
    kits,
    nnunet,
    save,
    save_scan,
    totalsegmentator,
)
from tools.audit import audit
from tools.layout import find_cases


def in_ras(path: str) -> np.ndarray:
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)


@pytest.mark.parametrize("layout", EXAMPLES)
def test_an_example_of_each_layout_ends_as_a_correct_datalist(layout, tmp_path):
    write, expected = EXAMPLES[layout]
    write(tmp_path / "data")
    result = audit(str(tmp_path / "data"), str(tmp_path / "out"), num_threads=1)
    assert result["failed"] == {}
    assert json.loads(Path(result["audit"]).read_text())["faults"] == []
    found = {}
    for section in ("training", "unlabeled", "testing"):
        for case in load_cases(result["datalist"], section):
            found[case["id"]] = (section, case["kind"], case.get("annotated_classes"), case.get("label"))
            assert nib.load(case["image"]).shape == nib.load(case.get("label") or case["image"]).shape
    assert found.keys() == expected.keys()
    for name, (section, kind, annotated, labels) in expected.items():
        assert found[name][:3] == (section, kind, annotated), name
        assert (found[name][3] is None) == (labels is None), name
        if labels is not None:
            np.testing.assert_array_equal(in_ras(found[name][3]), labels, err_msg=name)


def test_label_maps_in_our_values_are_used_as_they_are(tmp_path):
    folders(tmp_path / "data")
    candidates, _ = find_cases(tmp_path / "data")
    result = audit(str(tmp_path / "data"), str(tmp_path / "out"), num_threads=1)
    assert [case["label"] for case in load_cases(result["datalist"])] == [case["label"] for case in candidates]
    assert not (tmp_path / "out" / "labels").exists()


def test_what_has_no_partner_is_named(tmp_path):
    nnunet(tmp_path / "nnunet")
    (tmp_path / "nnunet" / "labelsTr" / "ct_12.nii.gz").unlink()
    (tmp_path / "nnunet" / "imagesTr" / "ct_120_0000.nii.gz").unlink()
    kits(tmp_path / "kits")
    (tmp_path / "kits" / "dataset" / "case_00004" / "imaging.nii.gz").unlink()
    totalsegmentator(tmp_path / "ts")
    (tmp_path / "ts" / "s0000" / "ct.nii.gz").unlink()
    for mask in (tmp_path / "ts" / "s0001" / "segmentations").iterdir():
        mask.unlink()
    reasons = {}
    for folder in tmp_path.iterdir():
        candidates, excluded = find_cases(folder)
        reasons |= {case["id"]: case["reason"] for case in excluded}
        assert not {case["id"] for case in candidates} & reasons.keys()
    assert "imagesTr/ct_12_0000.nii.gz: has no label; put ct_12.nii.gz beside the other labels" in reasons["ct_12"]
    assert "labelsTr/ct_120.nii.gz: has no image; put ct_120_0000.nii.gz" in reasons["ct_120"]
    assert "case_00004/aggregated_MAJ_seg.nii.gz: has no image; put imaging.nii.gz" in reasons["case_00004"]
    assert "s0000/segmentations: has no image; put ct.nii.gz beside it" in reasons["s0000"]
    assert "s0001/ct.nii.gz: has no mask of our classes in segmentations" in reasons["s0001"]
    assert len(reasons) == 5


def test_a_file_that_is_not_named_as_its_data_sets_is_set_aside_by_name(tmp_path):
    amos(tmp_path / "amos")
    save_scan(tmp_path / "amos" / "imagesTr" / "amos_2 copy.nii.gz")
    btcv(tmp_path / "btcv")
    training = tmp_path / "btcv" / "RawData" / "Training"
    save_scan(training / "img" / "scan0002.nii.gz")
    save_scan(training / "img" / "img0001.nii")
    reasons = []
    for folder in ("amos", "btcv"):
        candidates, excluded = find_cases(tmp_path / folder)
        assert len(candidates) == {"amos": 3, "btcv": 2}[folder]
        reasons += [case["reason"] for case in excluded]
    odd, twin, scan = sorted(reasons)
    assert "amos_2 copy.nii.gz: is not named as the data set's files; call it like amos_0001.nii.gz." in odd
    assert "img/scan0002.nii.gz: is not named as the data set's files; call it like img0001.nii.gz." in scan
    assert "img0001.nii.gz: a second file for the case of" in twin


def test_an_id_may_end_in_what_looks_like_the_suffix_of_an_image(tmp_path):
    nnunet(tmp_path)
    for section, old, new in (("Tr", "ct_12", "ct_0000"), ("Ts", "ct_7", "ct_0001_0000")):
        for folder, ending in (("images", "_0000.nii.gz"), ("labels", ".nii.gz")):
            (tmp_path / (folder + section) / f"{old}{ending}").rename(tmp_path / (folder + section) / f"{new}{ending}")
    candidates, excluded = find_cases(tmp_path)
    found = {case["id"]: Path(case["label"]).name for case in candidates}
    assert found == {"ct_0000": "ct_0000.nii.gz", "ct_120": "ct_120.nii.gz", "ct_0001_0000": "ct_0001_0000.nii.gz"}
    assert excluded == []


def test_a_test_scan_does_not_take_the_place_of_a_training_case_of_its_id(tmp_path):
    nnunet(tmp_path / "data")
    for folder, ending in (("imagesTs", "_0000.nii.gz"), ("labelsTs", ".nii.gz")):
        (tmp_path / "data" / folder / f"ct_7{ending}").rename(tmp_path / "data" / folder / f"ct_12{ending}")
    result = audit(str(tmp_path / "data"), str(tmp_path / "out"), num_threads=1)
    assert [case["id"] for case in load_cases(result["datalist"])] == ["ct_12", "ct_120"]
    assert "imagesTs/ct_12_0000.nii.gz: another image has the id ct_12 already" in result["failed"]["ct_12"]


def test_chunk_folders_may_be_links(tmp_path):
    folders(tmp_path / "data")
    before = [case["id"] for case in find_cases(tmp_path / "data")[0]]
    for name in ("images", "labels"):
        (tmp_path / "data" / name).rename(tmp_path / name)
        (tmp_path / "data" / name).mkdir()
        (tmp_path / "data" / name / "chunk").symlink_to(tmp_path / name)
    candidates, excluded = find_cases(tmp_path / "data")
    assert ([case["id"] for case in candidates], excluded) == (before, [])


def change_json(root, **changes):
    path = root / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


FAULTS = {
    "channels": ("nnunet", {"channel_names": {"0": "CT", "1": "PET"}}, r"dataset\.json: has 2 channels; a CT scan has"),
    "ending": ("nnunet", {"file_ending": ".nrrd"}, r"the files end in \.nrrd; convert them to \.nii\.gz or \.nii"),
    "ignore": ("nnunet", {"labels": {"background": 0, "liver": 1, "ignore": 2}}, "'ignore' marks voxels that nobody"),
    "doubtful": ("nnunet", {"labels": {"liver and tumor": 1}}, "'liver and tumor' may or may not be one of our"),
    "none ours": ("nnunet", {"labels": {"background": 0, "colon": 1}}, r"none of its labels \(colon\) is one of our"),
    "no names": ("nnunet", {"labels": {"liver": "one"}}, "'labels' maps names to whole numbers"),
    "MR": ("decathlon", {"modality": {"0": "T2", "1": "ADC"}}, "the scans are T2, ADC; only data sets of CT"),
    "MR in a word": ("decathlon", {"modality": "MRI"}, "the scans are MRI; only data sets of CT"),
    "turned names": ("decathlon", {"labels": {"liver": 1}}, "'labels' maps whole numbers to names, for example"),
    "unlisted": ("decathlon", {"training": ["./imagesTr/liver_0.nii.gz"]}, 'an "image" and a "label" for each case'),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_dataset_json_that_is_of_no_use_is_refused_in_one_sentence(fault, tmp_path):
    layout, changes, sentence = FAULTS[fault]
    EXAMPLES[layout][0](tmp_path)
    change_json(tmp_path, **changes)
    with pytest.raises(CaseError, match=sentence):
        find_cases(tmp_path)


def test_a_broken_dataset_json_is_named(tmp_path):
    nnunet(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(CaseError, match=r"dataset\.json: not a JSON file"):
        find_cases(tmp_path)


def test_what_the_decathlon_lists_and_lacks_is_set_aside(tmp_path):
    EXAMPLES["decathlon"][0](tmp_path)
    (tmp_path / "imagesTr" / "liver_1.nii.gz").unlink()
    candidates, excluded = find_cases(tmp_path)
    assert [case["id"] for case in candidates] == ["liver_0", "liver_132"]
    assert {case["id"] for case in excluded} == {"liver_1"}
    assert "imagesTr/liver_1.nii.gz: is listed in dataset.json and missing" in excluded[0]["reason"]


def test_a_dataset_json_that_was_written_on_windows_is_read(tmp_path):
    EXAMPLES["decathlon"][0](tmp_path)
    before = find_cases(tmp_path)
    path = tmp_path / "dataset.json"
    content = json.loads(path.read_text())
    for case in content["training"]:
        case |= {key: value.replace("/", "\\") for key, value in case.items()}
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    assert find_cases(tmp_path) == before


def test_a_list_for_validation_is_for_testing(tmp_path):
    EXAMPLES["decathlon"][0](tmp_path)
    listed = json.loads((tmp_path / "dataset.json").read_text())["training"]
    change_json(tmp_path, training=listed[1:], validation=listed[:1])
    candidates, excluded = find_cases(tmp_path)
    assert [(case["id"], case["section"], "label" in case) for case in candidates] == [
        ("liver_1", "training", True),
        ("liver_0", "testing", True),
        ("liver_132", "testing", False),
    ]
    assert excluded == []


def test_two_values_may_have_one_name(tmp_path):
    EXAMPLES["decathlon"][0](tmp_path)
    change_json(tmp_path, labels={"0": "background", "1": "liver", "2": "liver"})
    labeled = [case for case in find_cases(tmp_path)[0] if "label" in case]
    assert [case["source_labels"].mapping for case in labeled] == [{1: 1, 2: 1}] * 2


def test_a_modality_may_be_told_in_a_word(tmp_path):
    EXAMPLES["decathlon"][0](tmp_path)
    before = find_cases(tmp_path)
    change_json(tmp_path, modality="ct")
    assert find_cases(tmp_path) == before


def test_a_scan_of_four_dimensions_is_set_aside(tmp_path):
    EXAMPLES["decathlon"][0](tmp_path / "data")
    save_scan(tmp_path / "scan.nii.gz")
    four = np.stack([np.asarray(nib.load(tmp_path / "scan.nii.gz").dataobj)] * 2, axis=-1)
    path = tmp_path / "data" / "imagesTr" / "liver_1.nii.gz"
    nib.save(nib.Nifti1Image(four, nib.load(path).affine), path)
    result = audit(str(tmp_path / "data"), str(tmp_path / "out"), num_threads=1)
    assert list(result["failed"]) == ["liver_1"]
    assert "imagesTr/liver_1.nii.gz" in result["failed"]["liver_1"]


def test_a_folder_of_no_layout_tells_what_was_looked_for(tmp_path):
    save(tmp_path / "scans" / "1.nii.gz", body())
    with pytest.raises(CaseError, match="not laid out in a way that is known; looked for") as told:
        find_cases(tmp_path)
    for words in ("case_00000/imaging.nii.gz", "Training/img/img0001.nii.gz", "imagesTr2200", "images/ID.nii.gz"):
        assert words in str(told.value)
    assert "\n" not in str(told.value)
