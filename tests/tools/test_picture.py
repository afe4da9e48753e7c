"""`tools picture`: the colors of what is labeled, and refusals."""

import matplotlib.image
import numpy as np
import pytest

from abdoseg.labels import COLORS
from tests.tools.small_data import AFFINE, labels_of, save, save_scan, truncate
from tools.__main__ import main


def shades_of(path, class_id: int) -> int:
    """Pixels of a picture within reach of a class's color, drawn half transparent on a dark scan."""
    pixels = matplotlib.image.imread(path)[..., :3]
    color = np.array(COLORS[class_id]) / 255
    return int((np.abs(pixels - color).max(axis=-1) < 0.12).sum())


def test_what_is_labeled_is_colored(tmp_path):
    scan = save_scan(tmp_path / "a_0000.nii.gz")
    liver = save(tmp_path / "liver.nii.gz", labels_of((1,)))
    spleen = save(tmp_path / "spleen.nii.gz", labels_of((3,)))
    assert main(["picture", str(scan), str(liver), str(tmp_path / "one.png"), "--title=ours"]) == 0
    assert main(["picture", str(scan), str(spleen), str(tmp_path / "two.png"), f"--truth={liver}"]) == 0
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    assert shades_of(one, 1) > 50 > shades_of(one, 3)
    assert shades_of(two, 1) > 50
    assert shades_of(two, 3) > 50


@pytest.mark.parametrize("moved", [0, 2])
def test_labels_of_another_grid_are_refused(moved, tmp_path, capsys):
    scan = save_scan(tmp_path / "a_0000.nii.gz")
    affine = AFFINE.copy()
    affine[2, 3] += 14 * moved
    labels = save(tmp_path / "labels.nii.gz", labels_of((1,)), affine)
    assert main(["picture", str(scan), str(labels), str(tmp_path / "x.png")]) == (2 if moved else 0)
    assert ("does not lie on the grid" in capsys.readouterr().err) == bool(moved)


def test_a_picture_never_takes_the_place_of_a_volume(tmp_path, capsys):
    scan, labels, truth = (tmp_path / f"{name}.nii.gz" for name in ("a", "labels", "truth"))
    save_scan(scan)
    for path in (labels, truth):
        save(path, labels_of((1,)))
    before = truth.read_bytes()
    assert main(["picture", str(scan), str(labels), str(truth)]) == 2  # all volumes of a folder, or --truth forgotten
    assert capsys.readouterr().err == f"error: --output {truth} is no picture; name one that ends in .png.\n"
    assert truth.read_bytes() == before


def test_a_broken_scan_is_named_in_one_sentence(tmp_path, capsys):
    labels = save(tmp_path / "labels.nii.gz", labels_of((1,)))
    scan = save_scan(tmp_path / "a_0000.nii.gz")
    truncate(scan)
    for words in ("the voxels cannot be read", "cannot be read"):
        assert main(["picture", str(scan), str(labels), str(tmp_path / "x.png")]) == 2
        assert f"error: {scan}: {words}" in capsys.readouterr().err
        scan.write_text("no scan")
