"""CMake installs every file of the module's folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

MODULE = Path(__file__).parents[2] / "MedNeXtSegmentation"


def listed(variable: str) -> list[str]:
    """The files of a list in the module's CMakeLists.txt."""
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    match = re.search(rf"set\({variable}\n(.*?)\n\s*\)", text, re.DOTALL)
    assert match, variable
    return [line.strip().replace("${MODULE_NAME}", MODULE.name) for line in match[1].splitlines()]


def present(pattern: str) -> list[str]:
    files = (file for file in MODULE.rglob(pattern) if file.is_file() and "__pycache__" not in file.parts)
    return sorted(file.relative_to(MODULE).as_posix() for file in files)


@pytest.mark.parametrize(
    ("variable", "pattern"),
    [("MODULE_PYTHON_SCRIPTS", "*.py"), ("MODULE_PYTHON_RESOURCES", "Resources/**/*")],
)
def test_every_file_is_installed(variable, pattern):
    assert sorted(listed(variable)) == present(pattern)


@pytest.mark.parametrize("variable", ["MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"])
def test_the_lists_are_in_order(variable):
    """A file is easy to find in them, and two branches that add files rarely meet in one line."""
    files = listed(variable)
    first = [f"{MODULE.name}.py"] if files[0] == f"{MODULE.name}.py" else []
    assert files == first + sorted(files[len(first) :])
