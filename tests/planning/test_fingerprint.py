"""Tests of the data fingerprint on real files, against hand-worked values and nnunetv2's extractor."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

from abdoseg.files import CaseError
from abdoseg.planning import fingerprint, measure_case


def write_case(folder, name, image, label, affine=None, label_affine=None):
    """Write an (x, y, z) scan and its label, and give the datalist's entry."""
    affine = np.diag([2.0, 3.0, 5.0, 1.0]) if affine is None else affine
    paths = {"image": folder / f"{name}_0000.nii.gz", "label": folder / f"{name}.nii.gz"}
    nib.save(nib.Nifti1Image(image, affine), paths["image"])
    nib.save(nib.Nifti1Image(label, affine if label_affine is None else label_affine), paths["label"])
    return {"id": name, **{key: str(path) for key, path in paths.items()}}


def ramp_case(folder, name="ramp"):
    """A scan of 10 x 8 x 6 voxels at -1000 HU with 101 labeled voxels of 0, 1, ... 100 HU."""
    image = np.full((10, 8, 6), -1000, dtype=np.int16)
    label = np.zeros((10, 8, 6), dtype=np.uint8)
    image.reshape(-1)[:101] = np.arange(101)
    label.reshape(-1)[:101] = 1
    return write_case(folder, name, image, label)


def test_statistics_by_hand(tmp_path):
    found = fingerprint([ramp_case(tmp_path)])
    assert found["shapes"] == [[10, 8, 6]]
    assert found["spacings"] == [pytest.approx([2.0, 3.0, 5.0])]
    # Mean and median of 0..100 are 50, the variance is (101^2 - 1) / 12 = 850; half a percent of 101 voxels is the
    # first voxel, 99.5 % the last.
    assert found["foreground"] == {
        "mean": pytest.approx(50),
        "std": pytest.approx(np.sqrt(850)),
        "median": 50,
        "percentile_00_5": 0,
        "percentile_99_5": 100,
        "min": 0,
        "max": 100,
    }
    assert found["excluded"] == []


def test_a_window_clips_before_anything_is_said(tmp_path):
    # 21 voxels become 20 HU and 41 become 60 HU; between them 21 + ... + 59 = 1560: (420 + 1560 + 2460) / 101.
    found = fingerprint([ramp_case(tmp_path)], hu_window=(20, 60))["foreground"]
    assert found["mean"] == pytest.approx(4440 / 101)
    assert found["std"] == pytest.approx(np.arange(101).clip(20, 60).std())
    names = ("median", "percentile_00_5", "percentile_99_5", "min", "max")
    assert [found[name] for name in names] == [50, 20, 60, 20, 60]


def test_every_case_counts_the_same(tmp_path):
    # 1 voxel of 100 HU and 400 of 0 HU: the mean over cases is 50, over voxels it would be 0.25.
    cases = []
    for name, value, voxels in (("small", 100, 1), ("large", 0, 400)):
        image, label = np.full((10, 10, 10), value, np.int16), np.zeros((10, 10, 10), np.uint8)
        image[0, 0, 0], image[-1, -1, -1] = -1000, -1000
        label.reshape(-1)[1 : voxels + 1] = 3
        cases.append(write_case(tmp_path, name, image, label))
    found = fingerprint(cases)["foreground"]
    assert found["mean"] == pytest.approx(50)
    assert found["std"] == pytest.approx(50)


def test_axes_are_ras_and_empty_margins_are_cut(tmp_path):
    # Stored axes: z downwards (5 mm), x to the left (2 mm), y to the front (3 mm).
    image = np.zeros((12, 10, 8), np.int16)
    image[2:9, 1:, :5] = -1000
    label = (image != 0).astype(np.uint8)
    affine = np.array([[0, -2.0, 0, 40], [0, 0, 3.0, -7], [-5.0, 0, 0, 90], [0, 0, 0, 1]])
    measured = measure_case(write_case(tmp_path, "turned", image, label, affine))
    assert measured["spacing"] == pytest.approx([2.0, 3.0, 5.0])
    assert measured["shape"] == [9, 5, 7]


def test_agrees_with_nnunetv2(tmp_path):
    random = np.random.default_rng(1)
    cases, samples = [], []
    for number, (center, spread) in enumerate([(60, 30), (110, 50), (-20, 15)]):
        image = random.normal(center, spread, (24, 20, 16)).astype(np.int16)
        image[image == 0] = 1
        label = (random.random(image.shape) < 0.2 + 0.2 * number).astype(np.uint8)
        cases.append(write_case(tmp_path, f"case{number}", image, label))
        collect = DatasetFingerprintExtractor.collect_foreground_intensities
        samples.append(collect(label[None], image[None], seed=number, num_samples=200_000)[0][0])
    samples = np.concatenate(samples)
    found = fingerprint(cases)["foreground"]
    # 600,000 draws: standard errors are below 0.1 HU for the mean and about 0.5 HU for the outer percentiles.
    assert found["mean"] == pytest.approx(samples.mean(), abs=0.4)
    assert found["std"] == pytest.approx(samples.std(), abs=0.4)
    assert found["median"] == pytest.approx(np.median(samples), abs=1)
    assert found["percentile_00_5"] == pytest.approx(np.percentile(samples, 0.5), abs=2)
    assert found["percentile_99_5"] == pytest.approx(np.percentile(samples, 99.5), abs=2)


def test_processes_give_the_same(tmp_path):
    cases = [ramp_case(tmp_path, name) for name in ("a", "b")]
    assert fingerprint(cases, workers=2) == fingerprint(cases)


def bad_cases(folder):
    """Give one case a fault, with the words that its reason must hold."""
    image, label = np.full((6, 6, 6), 40, np.int16), np.ones((6, 6, 6), np.uint8)
    shifted = np.diag([2.0, 3.0, 5.0, 1.0])
    shifted[0, 3] = 10
    truncated = write_case(folder, "truncated", image, label)
    with gzip.open(truncated["image"]) as file:
        whole = file.read()
    with gzip.open(truncated["image"], "wb") as file:
        file.write(whole[: len(whole) // 2])
    nan = image.astype(np.float32)
    nan[0, 0, 0] = np.nan
    return [
        ({"id": "absent", "image": str(folder / "no.nii.gz"), "label": str(folder / "no.nii.gz")}, "no such file"),
        (truncated, "cut short"),
        (write_case(folder, "shape", image, label[:5]), "differs"),
        (write_case(folder, "affine", image, label, label_affine=shifted), "differs"),
        (write_case(folder, "empty", image, 0 * label), "empty"),
        (write_case(folder, "nan", nan, label), "not finite"),
        (write_case(folder, "zeros", 0 * image, label), "every voxel is 0"),
        (write_case(folder, "series", np.stack([image] * 2, -1), np.stack([label] * 2, -1)), "three dimensions"),
    ]


def test_bad_cases_are_named_and_left_out(tmp_path):
    faults = bad_cases(tmp_path)
    found = fingerprint([case for case, _ in faults] + [ramp_case(tmp_path)])
    assert len(found["shapes"]) == 1
    assert found["foreground"]["mean"] == pytest.approx(50)
    assert [entry["id"] for entry in found["excluded"]] == [case["id"] for case, _ in faults]
    for entry, (_, words) in zip(found["excluded"], faults, strict=True):
        assert words in entry["reason"]
        assert str(tmp_path) in entry["reason"]


def test_no_usable_case_is_an_error(tmp_path):
    with pytest.raises(CaseError, match=r"None of the 1 cases.*no\.nii\.gz"):
        fingerprint([{"id": "absent", "image": str(tmp_path / "no.nii.gz"), "label": "x"}])
