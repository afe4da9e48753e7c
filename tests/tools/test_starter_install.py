"""`tools starter --install`: weights in half precision with their card, which `predict` takes for want of others."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from abdoseg.datalist import load_cases, write_datalist
from abdoseg.files import CaseError, write_json, write_label_map
from abdoseg.labels import NAMES
from abdoseg.manifest import file_hash
from abdoseg.networks import build_network, load_checkpoint, read_architecture, write_architecture
from tests.bundles.tiny import TINY_PLAN, copy_tiny
from tests.synthesis.small import SPACING, block_tissues
from tools.__main__ import main
from tools.chain import BUNDLES
from tools.starter import anatomy_list, starter
from tools.starter_install import LARGEST_BYTES, STAGES, install_weights
from tools.starter_weights import starter_folder, starter_notice

AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])
FILES = {"model.pt", "architecture.json", "starter.json", "model_card.md"}
GRID = nib.Nifti1Image(np.zeros((48, 40, 44), np.uint8), AFFINE)


def finished(root):
    """A work folder as `starter` leaves it, of tiny networks."""
    student = {"kind": "residual_unet", "channels": [2, 3, 4], "image_size": [16, 16, 16]}
    fine = {"kind": "efficient_segnet", "channels": [2, 3, 4], "image_size": [16, 16, 16]}
    kinds = {
        "teacher": {"kind": "nnunet", "plan": TINY_PLAN, "deep_supervision": False},
        "coarse": student,
        "fine": {"kind": "coarse_to_fine", "coarse": student, "fine": fine},
    }
    for stage, architecture in kinds.items():
        write_architecture(root / stage / "weights" / "architecture.json", architecture)
        torch.save(build_network(architecture).state_dict(), root / stage / "weights" / "model.pt")
        write_json(root / "manifests" / f"{stage}.json", {"status": "done", "seconds": 60})
        rows = [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.25}]
        (root / stage / "learning_curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_label_map(root / "one.nii.gz", block_tissues(), GRID)
    anatomy_list(root, root / "one.nii.gz", (), 0, 0.0)
    scores = {"liver": {"dsc": 0.91, "nsd": 0.5, "present": True}, "spleen": {"dsc": 1, "nsd": 1, "present": False}}
    write_json(root / "scores" / "student.json", {"cases": {"scan": scores}})
    found = {"head": {"ml": 2.04, "classes": {"liver": 2.04, "spleen": 0.0}}}
    write_json(root / "scores" / "checks.json", {"sides": {}, "outside": {"student": found}})
    return root


def test_weights_are_installed_in_half_precision_with_their_card(tmp_path):
    root, bundles = finished(tmp_path / "work"), tmp_path / "bundles"
    write_json(root / "installed" / "fine_seg" / ".tmp-1-model.pt", "of a call that was killed while it wrote")
    installed = install_weights(root, bundles)["installed"]
    assert sorted(installed) == ["coarse_seg", "fine_seg", "teacher_nnunet"]
    for name, stage in (("teacher_nnunet", "teacher"), ("fine_seg", "fine")):
        models = starter_folder(name, bundles)
        told = json.loads((models / "starter.json").read_text())
        assert told == {"bundle": name, "sha256": installed[name], "anatomies": "one"}
        assert {path.name for path in models.iterdir()} == FILES
        assert installed[name] == file_hash(models / "model.pt")
        state = torch.load(models / "model.pt", weights_only=True)
        assert {value.dtype for value in state.values()} == {torch.float16}
        network = build_network(read_architecture(models / "architecture.json", {}))
        network.load_state_dict(state)
        trained = torch.load(root / stage / "weights" / "model.pt", weights_only=True)
        for key, value in network.state_dict().items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, trained[key], rtol=1e-3, atol=1e-4)
        card = (models / "model_card.md").read_text()
        assert installed[name] in card
        assert "Anatomies: one.\n  Terms of one: ask whoever trained on them.\n" in card
        assert "loss 2.50 to 1.25" in card
    card = (starter_folder("fine_seg", bundles) / "model_card.md").read_text()
    assert "| liver | 0.910 |" in card
    assert "In head, outside the abdomen, it finds 2.0 mL (liver 2.0)" in card
    assert "spleen" not in card
    assert "Not scored on any real scan" in (starter_folder("teacher_nnunet", bundles) / "model_card.md").read_text()
    # Where one does not fit on its disk, the others stay as they were.
    (bundles / "teacher_nnunet" / "models" / "starter" / "kept").touch()
    shutil.move(bundles / "fine_seg", bundles / "moved")
    (bundles / "fine_seg").touch()
    with pytest.raises(OSError, match="fine_seg"):
        install_weights(root, bundles)
    assert (bundles / "teacher_nnunet" / "models" / "starter" / "kept").exists()
    (bundles / "fine_seg").unlink()
    shutil.move(bundles / "moved", bundles / "fine_seg")
    # A student that was trained on since has no figures.
    labeled = root / "predictions" / "student" / "manifest.json"
    write_json(labeled, {"sha256": file_hash(root / "fine" / "weights" / "model.pt")})
    assert install_weights(root, bundles)["installed"] == installed
    write_json(labeled, {"sha256": "0" * 64})
    with pytest.raises(CaseError, match=r"predictions/student was labeled by other weights than .*fine/weights"):
        install_weights(root, bundles)
    write_json(labeled, {"sha256": file_hash(root / "fine" / "weights" / "model.pt")})
    # Nor has one whose coarse network was, or one whose scores are of an earlier call.
    coarse, scored = (root / "manifests" / f"{stage}.json" for stage in ("coarse", "score_student"))
    write_json(root / "manifests" / "fine.json", {"status": "done", "key": "f", "after": {"coarse": "c"}})
    write_json(scored, {"status": "done", "key": "s", "after": {"fine": "f"}})
    write_json(coarse, {"status": "done", "key": "c"})
    assert install_weights(root, bundles)["installed"] == installed
    for changed in ({"status": "done", "key": "other"}, {"status": "failed", "key": "c"}):
        write_json(coarse, changed)
        with pytest.raises(CaseError, match=r"stage (fine was done with another coarse than|coarse is not done)"):
            install_weights(root, bundles)
    write_json(coarse, {"status": "done", "key": "c"})
    write_json(scored, {"status": "done", "key": "s", "after": {"fine": "earlier"}})
    with pytest.raises(
        CaseError, match=r"stage score_student was done with another fine than is there now; run `starter`"
    ):
        install_weights(root, bundles)
    shutil.rmtree(root / "manifests")
    with pytest.raises(CaseError, match="stage teacher is not done"):
        starter(str(root), install=True)


def test_the_card_tells_where_anatomies_come_from(tmp_path):
    root = finished(tmp_path / "work")
    entries = load_cases(root / "anatomies.json")
    maps = {"phantom_0_1": "phantom", "s0327": None, "s0328": None, "head_ct": None, "head_0_1": "head"}
    made = [{**entries[0], "id": name} | ({"procedural": kind} if kind else {}) for name, kind in maps.items()]
    write_datalist(root / "anatomies.json", {"training": made})
    install_weights(root, tmp_path / "bundles")
    card = (starter_folder("coarse_seg", tmp_path / "bundles") / "model_card.md").read_text()
    assert (
        "- Anatomies: s0327, s0328, head_ct, 1 phantom and 1 head.\n"
        "  s0327 and s0328 are derived from the TotalSegmentator data set (Wasserthal et al. 2023), CC BY 4.0.\n"
        "  Terms of head_ct: ask whoever trained on them.\n"
        "  Phantoms and heads are procedural.\n"
    ) in card


@pytest.mark.parametrize("bundle", STAGES.values())
def test_starter_weights_of_the_repository_are_whole_and_small(bundle):
    folder = BUNDLES / bundle / "models" / "starter"
    if not folder.exists():
        pytest.fail(f"{folder} is missing, which README's first command labels with")
    assert {path.name for path in folder.iterdir()} - {"openvino"} == FILES
    assert all(path.stat().st_size <= LARGEST_BYTES for path in folder.glob("*.*"))
    sha256 = file_hash(folder / "model.pt")
    assert json.loads((folder / "starter.json").read_text())["sha256"] == sha256
    assert sha256 in (folder / "model_card.md").read_text()
    load_checkpoint(folder / "model.pt", build_network(read_architecture(folder / "architecture.json", {})))


def test_predict_takes_the_starter_where_nothing_was_trained_and_says_so(tmp_path, capsys):
    install_weights(finished(tmp_path / "work"), tmp_path / "installed")
    bundle = copy_tiny(BUNDLES / "teacher_nnunet", tmp_path)
    (bundle / "models" / "architecture.json").unlink()
    shutil.copytree(starter_folder("teacher_nnunet", tmp_path / "installed"), bundle / "models" / "starter")
    scan = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(block_tissues()[:16, :16, :16].astype(np.int16), AFFINE), scan)
    assert main(["predict", str(bundle), str(scan), str(tmp_path / "out"), "--trust"]) == 0
    told = capsys.readouterr().out
    assert f"weights: {bundle / 'models' / 'starter' / 'model.pt'}" in told
    assert "Starter weights of teacher_nnunet, learned from synthetic CT of one alone: labels to look at" in told
    assert "not for diagnosis or any other clinical use" in told

    # What is trained into models/ comes first, and no starter decides its architecture.
    architecture = {"kind": "nnunet", "plan": {**TINY_PLAN, "features": [2, 4, 8]}}
    write_architecture(bundle / "models" / "architecture.json", architecture)
    torch.save(build_network(architecture).state_dict(), bundle / "models" / "model.pt")
    assert main(["predict", str(bundle), str(scan), str(tmp_path / "own"), "--trust"]) == 0
    told = capsys.readouterr().out
    assert f"weights: {bundle / 'models' / 'model.pt'}" in told
    assert "Starter" not in told

    with pytest.raises(CaseError, match=r"is not the file that starter\.json beside it tells of"):
        starter_notice(bundle / "models" / "starter" / "model.pt", "0" * 64)


def test_the_documents_tell_what_the_cards_tell():
    """docs/synthesis.md has a row an organ, with columns teacher and student for each of the cards' scans."""

    def rows(path) -> dict[str, list[str]]:
        lines = (line.strip("|\n").replace("*", "").split("|") for line in path.read_text().splitlines() if "|" in line)
        return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in reversed(list(lines))}

    document = rows(BUNDLES.parent / "docs" / "synthesis.md")
    teacher, student = (
        rows(BUNDLES / bundle / "models" / "starter" / "model_card.md") for bundle in ("teacher_nnunet", "fine_seg")
    )
    order = [teacher["organ"].index(scan) for scan in ("ct_example_3mm", "ct_chaos03", "ct_example_dicom20")]
    assert teacher["organ"] == student["organ"]
    names = {name: name for name in teacher if name in NAMES.values()} | {
        "mean of the organs": "mean of the organs drawn"
    }
    assert len(names) == 13
    for name, told in names.items():
        figures = [card[name][scan] for scan in order for card in (teacher, student)]
        assert [cell == "" for cell in document[told]] == [figure == "" for figure in figures], name
        pairs = [(cell, figure) for cell, figure in zip(document[told], figures, strict=True) if figure]
        assert all(abs(float(cell) - float(figure)) < 0.0051 for cell, figure in pairs), name
