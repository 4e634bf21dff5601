"""Benchmarks, demo and scripts of the documentation import names that exist; few of them run in a test."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    file for folder in ("benchmarks", "demo", "docs") for file in sorted((ROOT / folder).rglob("*.py"))
]
OURS = ("mednext", "mednext_training", "MedNeXtSegmentationLib")


def imports(text: str) -> Iterator[tuple[str, str]]:
    """Module and name of each import from our packages, also in programs that are texts of this one."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
            yield from ((node.module, each.name) for each in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "import " in node.value:
            try:
                yield from imports(dedent(node.value))
            except SyntaxError:  # prose
                continue


def at_file_scope(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, also those under `if` and `try`."""
    for node in nodes:
        yield node
        for part in ("body", "orelse", "handlers", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield from at_file_scope(getattr(node, part, []))


@cache
def names(module: str) -> set[str]:
    """The names that a module defines or imports, without running it."""
    spec = find_spec(module)
    assert spec and spec.origin, module
    found: set[str] = set()
    for node in at_file_scope(ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {each.asname or each.name for each in node.names}
        else:
            stored = (each for each in ast.walk(node) if isinstance(each, ast.Name))
            found |= {each.id for each in stored if isinstance(each.ctx, ast.Store)}
    return found


def exists(module: str, name: str) -> bool:
    spec = find_spec(module)
    if spec is None:
        return False
    if module == "mednext":  # it imports its public names when they are asked for
        return hasattr(importlib.import_module(module), name)
    in_folder = spec.submodule_search_locations is not None and find_spec(f"{module}.{name}") is not None
    return in_folder or name in names(module)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_script_imports_names_that_exist(script: Path) -> None:
    found = list(imports(script.read_text(encoding="utf-8")))
    assert [f"from {module} import {name}" for module, name in found if not exists(module, name)] == []


def test_a_name_that_has_moved_is_noticed() -> None:
    program = 'PROGRAM = """\nfrom mednext_training.evaluation.case_results import dice\n"""\n'
    ((module, name),) = imports(program)
    assert not exists(module, name)
    assert exists("mednext_training.evaluation.metrics", name) and exists("mednext", "segment")
