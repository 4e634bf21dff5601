"""Every file that stays is written beside and renamed; `make faults` interrupts the writers at each write."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WRITING = {"write_text", "write_bytes", "save_as", "print_png", "copyfile", "copytree", "WriteImage"}
TEMPORARY = "a temporary folder, which a run or a conversion removes"
ELSEWHERE = "its caller gives a temporary file or folder, and renames it"

# Files with writers that do not write to a `temporary` of `replacing` or `replacing_folder` themselves.
OTHERS = {
    "MedNeXtSegmentationLib/engine/worker_client.py": TEMPORARY,
    "mednext/checkpoints/remote/address.py": TEMPORARY,
    "mednext/system/terminal.py": "the null device",
    "mednext/dicomweb/retrieval.py": TEMPORARY,
    "mednext/images/dicom/slice.py": TEMPORARY,
    "mednext/images/formats/image_files.py": ELSEWHERE,
    "mednext/images/formats/nifti_writing.py": ELSEWHERE,
    "mednext/library/archive.py": ELSEWHERE,
    "mednext/library/download/partial.py": "the unfinished part of a download; a torn note counts as none",
    "mednext/library/download/remote_zip.py": "the unfinished part of a download",
    "mednext/library/store.py": ELSEWHERE,
    "mednext/model/bundle.py": ELSEWHERE,
    "mednext/segmentation/formats/dicom_seg.py": "memory",
    "mednext/training_set/case.py": "a folder beside, which is renamed and then put in place",
    "mednext/viewing/page_server.py": TEMPORARY,
    "mednext/worker/exchange.py": TEMPORARY,
    "mednext_training/experiments/comparison.py": ELSEWHERE,
    "mednext_training/conversion/archives.py": TEMPORARY,
    "mednext_training/conversion/converting.py": ELSEWHERE,
    "mednext_training/training/curves.py": ELSEWHERE,
    "mednext_training/planning/plans.py": "plans count only once their mark is written, in one step",
    "mednext_training/publishing/bundle_export.py": ELSEWHERE,
}


def writers(file: Path) -> Iterator[str]:
    """The receivers of calls that write a file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
            modes = [
                text for text in texts if isinstance(text, str) and len(text) < 4 and set(text) & set("wxa+")
            ]
            if node.func.attr in WRITING or (node.func.attr == "open" and modes):
                yield ast.unparse(node.func.value)


def test_every_writer_replaces_its_file_in_one_step_or_is_listed_with_the_reason() -> None:
    found = set()
    for base in (ROOT / "MedNeXtSegmentation", ROOT / "training"):
        for file in base.rglob("*.py"):
            if any(receiver != "temporary" for receiver in writers(file)):
                found.add(file.relative_to(base).as_posix())
    assert found == set(OTHERS)
