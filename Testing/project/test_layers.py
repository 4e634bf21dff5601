"""Rules of imports and of words that `make lint` has no tool for; the others stand in pyproject.toml."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "MedNeXtSegmentation"
ENGINE = sorted((MODULE / "mednext").rglob("*.py"))
SLICER_SIDE = [MODULE / "MedNeXtSegmentation.py", *sorted((MODULE / "MedNeXtSegmentationLib").rglob("*.py"))]

SLICERS = {"slicer", "vtk", "qt", "ctk", "SubjectHierarchyPlugins"}
ENGINES = {"numpy", "torch", "SimpleITK", "requests", "urllib3", "safetensors"}  # urllib3 is part of requests
# Optional, and imported where they are used.
EXTRAS = {"dicomweb_client", "highdicom", "pydicom", "ray", "tqdm", "triton"}
SERVICE = {"starlette", "uvicorn"}  # of the room `server` alone, which only `mednext serve` imports


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """The packages that import statements name; relative imports stay within their own."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).split(".")[0])
    return names - set(sys.stdlib_module_names)


def anywhere(file: Path) -> set[str]:
    return imported(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


def at_file_scope(file: Path) -> set[str]:
    """Without the block `if TYPE_CHECKING:`, which never runs."""
    return imported(iter(ast.parse(file.read_text(encoding="utf-8")).body))


def test_the_engine_imports_only_allowed_packages():
    allowed = {"mednext"} | ENGINES | EXTRAS | SERVICE
    assert {file.name: anywhere(file) - allowed for file in ENGINE if anywhere(file) - allowed} == {}


def test_the_slicer_side_imports_only_slicers_packages_before_it_is_used():
    """An import at file scope is an import at Slicer's start."""
    allowed = {"mednext", "MedNeXtSegmentationLib", "numpy"} | SLICERS
    assert {file.name for file in SLICER_SIDE if at_file_scope(file) - allowed} == set()


def test_a_client_needs_no_package_of_the_server():
    assert {file.parent.name for file in ENGINE if anywhere(file) & SERVICE} == {"server"}
    assert at_file_scope(MODULE / "mednext" / "cli" / "serve.py") == set()


def test_optional_packages_are_imported_where_they_are_used():
    """Kernels are written in Triton's language: their folders count as optional."""
    others = [file for file in ENGINE if "kernels" not in file.parent.name]
    assert {file.name for file in others if at_file_scope(file) & EXTRAS} == set()
    kernels = re.compile(r"^from \.[.\w]*kernels", re.MULTILINE)
    assert {file.name for file in others if kernels.search(file.read_text(encoding="utf-8"))} == set()


def test_nothing_forks_or_spawns_workers_of_its_own():
    """Slicer on macOS froze at the end of runs that used multiprocessing (forum topic D45753)."""
    words = ("multiprocessing", "os.fork", "DataLoader")
    texts = {file.name: file.read_text(encoding="utf-8") for file in [*ENGINE, *SLICER_SIDE]}
    assert [name for name, text in texts.items() if any(word in text for word in words)] == []


def test_code_for_special_instructions_uses_no_templates_of_the_standard_library() -> None:
    """The linker may keep its copy for the whole program, which then ends on an older processor."""
    native = MODULE / "native"
    files, seen = list(native.glob("processors/kernels_*.cpp")), set()
    while files:
        file = files.pop()
        if file not in seen:
            seen.add(file)
            text = file.read_text(encoding="utf-8")
            files += [native / name for name in re.findall(r'#include "(.+?)"', text)]
            assert set(re.findall(r"std::(\w+)", text)) <= {"memcpy", "integral_constant"}, file.name
    assert native / "kernels/label.h" in seen
