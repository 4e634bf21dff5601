"""docs/pains.md names a test for each pain of the users and each promise: the tests that it names exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
PAINS = 15
PROMISES = 20  # the rows of the comparison with the other extensions


@pytest.fixture(scope="module")
def rows():
    """The rows of the tables, as lists of cells."""
    text = (HERE.parent / "docs" / "pains.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def named_tests(cell: str) -> list[str]:
    """The files, or tests as `file::function`, that a cell names."""
    return re.findall(r"`(test_\w+\.py(?:::\w+)?)`", cell)


def exists(node_id: str) -> bool:
    name, _, function = node_id.partition("::")
    file = HERE / name
    if not file.is_file():
        return False
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return not function or function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_pain_is_there(rows):
    assert [row[0] for row in rows if row[0].isdigit()] == [str(number + 1) for number in range(PAINS)]


def test_every_promise_is_there(rows):
    names = [row[0] for row in rows if len(row) == 2 and row[0] != "promise"]
    assert len(names) == len(set(names)) == PROMISES


def test_every_row_names_a_test_or_says_why_there_is_none(rows):
    told = [row for row in rows if row[-1] != "tests"]
    assert [row[0] for row in told if not (named_tests(row[-1]) or "make test" in row[-1])] == []


def test_every_named_test_exists(rows):
    missing = [node_id for row in rows for node_id in named_tests(row[-1]) if not exists(node_id)]
    assert missing == []
