"""Zips that were packed again by others, and what is no zip."""

import random
import zipfile

import pytest

from abdoseg.files import CaseError
from tools.archive import unpack


def test_a_compressed_zip_that_was_damaged_on_its_way_is_refused(tmp_path):
    path = tmp_path / "fine_seg_v0.1.0.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fine_seg/LICENSE", random.Random(0).randbytes(1000).hex())
    content = bytearray(path.read_bytes())
    content[100:160] = bytes(60)
    path.write_bytes(content)
    root, (fault,) = unpack(path, tmp_path / "out")
    assert root is None
    assert fault.startswith("the zip is damaged: Error -3 while decompressing data")


def test_a_folder_is_told_from_a_zip_that_is_missing(tmp_path):
    with pytest.raises(CaseError, match="is a folder; name a zip that `python -m tools pack` wrote"):
        unpack(tmp_path, tmp_path / "out")
    with pytest.raises(CaseError, match=r"gone\.zip does not exist; write it with `python -m tools pack`"):
        unpack(tmp_path / "gone.zip", tmp_path / "out")
