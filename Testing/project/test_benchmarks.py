"""`make bench` writes what it measured into docs/performance.md, and nothing else there."""

from __future__ import annotations

import argparse
import ctypes
from pathlib import Path

import pytest
from mednext.network.native_library import Kernels

from benchmarks.__main__ import _parts
from benchmarks.candidates import REFERENCE, Size, forwards
from benchmarks.page import PAGE, write_block
from benchmarks.passes import measure
from benchmarks.pictures import draw

TABLES = """
### MedNeXt-S k3, 64³, 14 classes, 3 rounds

| | seconds | times the reference | difference | peak MiB |
|---|---|---|---|---|
| MONAI | 1.00 | 1.10 | 0 | 470 |
| reference | 1.10 | 1.00 | 0 | 660 |
| native fp32 | 0.25 | 4.40 | 4e-07 | 88 |

"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "performance.md"
    path.write_text("Before.\n\n<!-- start -->\nold\n<!-- end of start -->\n\nAfter.\n", encoding="utf-8")
    return path


def test_a_block_is_replaced_and_the_rest_stays(page: Path) -> None:
    for text in ("first", r"second \1"):
        write_block("start", text, page)
    assert page.read_text(encoding="utf-8") == (
        "Before.\n\n<!-- start -->\n\nsecond \\1\n\n<!-- end of start -->\n\nAfter.\n"
    )


def test_a_page_without_the_block_is_refused(page: Path) -> None:
    with pytest.raises(ValueError, match="no block 'growth'"):
        write_block("growth", "text", page)


def test_every_part_has_its_block_in_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = ["machine", *_parts(argparse.Namespace())]
    assert [name for name in names if text.count(f"<!-- {name} -->\n") != 1] == []
    assert [name for name in names if text.count(f"<!-- end of {name} -->\n") != 1] == []


def test_the_plot_is_drawn_from_the_tables_of_the_page(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page, picture = tmp_path / "page.md", tmp_path / "plot.png"
    page.write_text(TABLES, encoding="utf-8")
    draw(page, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_reference_and_its_peers_are_measured_with_the_same_weights() -> None:
    found = forwards(Size.parse("S3"), compiled=False)
    assert {"MONAI", REFERENCE, "lean"} <= set(found)
    theirs, ours = found["MONAI"](), found[REFERENCE]()
    state = dict(ours.named_parameters())
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in state.values())
    assert (theirs.stem.weight == state["stem.weight"]).all()


def test_every_pass_of_the_native_kernels_is_timed(native_kernels: ctypes.CDLL) -> None:
    table = measure(native_kernels, Size("S", 3), 32, Kernels(native_kernels).name, 1)
    counted = ("stem", "depthwise", "pointwise", "fold", "head")
    assert [kind for kind in counted if f"| {kind} | all |" not in table] == []
    assert (
        table.count("| depthwise |") == table.count("| pointwise |") == 14
    )  # nine stages, four of them with changes
