"""Every text of the panel can be translated: it goes through `_`, as one literal."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

MODULE = Path(__file__).parents[2] / "MedNeXtSegmentation"

TRANSLATE = {"_", "tr", "translate"}
ATTRIBUTES = """
    text toolTip title windowTitle placeholderText noneDisplay statusTip whatsThis baseName caption format
    helpText acknowledgementText informativeText detailedText
"""
CALLS = """
    setText setToolTip setTitle setWindowTitle setPlaceholderText setStatusTip setLabelText addItem
    addAction addTab addButton setHorizontalHeaderLabels QLabel QPushButton QAction QCheckBox QGroupBox
    QRadioButton QToolButton QTableWidgetItem say showStatusMessage confirmOkCancelDisplay
    confirmYesNoDisplay errorDisplay warningDisplay infoDisplay question getOpenFileName getOpenFileNames
    getSaveFileName getExistingDirectory getText
"""
SHOWN_ATTRIBUTES = frozenset(ATTRIBUTES.split())
SHOWN_BY_CALLS = frozenset(CALLS.split())


@pytest.fixture(scope="module")
def trees():
    """The module's Python files outside of the engine, which has no user interface."""
    files = [MODULE / "MedNeXtSegmentation.py", *(MODULE / "MedNeXtSegmentationLib").rglob("*.py")]
    return {file.name: ast.parse(file.read_text(encoding="utf-8")) for file in files}


def name_of(function: ast.expr) -> str:
    """The last part of the called name: "setText" of `self.ui.label.setText`."""
    return getattr(function, "attr", getattr(function, "id", ""))


def untranslated(expression: ast.AST) -> Iterator[str]:
    """The literal texts with letters in an expression that stand in no call of `_`."""
    if isinstance(expression, ast.Call):
        if name_of(expression.func) in TRANSLATE:
            return
        # Of other calls only the text that a method is called on: "…".format(…), "…".join(…)
        children: list[ast.AST] = [expression.func]
    elif isinstance(expression, ast.Subscript | ast.Compare):
        return
    elif isinstance(expression, ast.IfExp):
        children = [expression.body, expression.orelse]
    elif isinstance(expression, ast.FormattedValue):
        children = [expression.value]
    else:
        children = list(ast.iter_child_nodes(expression))
    if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
        text = expression.value
        ending = text.startswith(".")  # of a file's name
        yield from [text] if any(letter.isalpha() for letter in text) and not ending else []
    for child in children:
        yield from untranslated(child)


def shown(tree: ast.AST) -> Iterator[ast.expr]:
    """The expressions whose value comes before the user's eyes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            if any(isinstance(t, ast.Attribute) and t.attr in SHOWN_ATTRIBUTES for t in node.targets):
                yield node.value
        elif isinstance(node, ast.Call) and name_of(node.func) in SHOWN_BY_CALLS:
            # The second argument of addItem is data.
            yield from node.args[:1] if name_of(node.func) == "addItem" else node.args


def does_something(node: ast.stmt) -> bool:
    """Whether a statement at file scope does more than import and define; a text may explain a constant."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) != "TYPE_CHECKING"
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    return not isinstance(
        node, ast.Import | ast.ImportFrom | ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign
    )


def test_each_translated_text_is_one_literal(trees):
    """Translators get the literals of the source: no f-string, no variable, no sum of texts."""
    calls = [(name, node) for name, tree in trees.items() for node in ast.walk(tree)]
    assert [
        f"{name}, line {node.lineno}: {ast.unparse(node)}"
        for name, node in calls
        if isinstance(node, ast.Call) and name_of(node.func) in TRANSLATE
        if not all(isinstance(text, ast.Constant) for text in node.args)
    ] == []


def test_every_text_that_is_shown_is_translated(trees):
    assert [
        f"{name}, line {text.lineno}: {literal!r}"
        for name, tree in trees.items()
        for text in shown(tree)
        for literal in untranslated(text)
    ] == []


def test_the_texts_of_the_ui_files_are_offered_to_translators():
    properties = [
        (file.name, prop.get("name"), prop.find("string"))
        for file in (MODULE / "Resources" / "UI").glob("*.ui")
        for prop in ElementTree.parse(file).iter("property")
    ]
    assert [
        f"{file}: {string.text}"
        for file, name, string in properties
        if string is not None and name in SHOWN_ATTRIBUTES and string.get("notr") == "true"
    ] == []


def test_nothing_is_done_when_a_file_is_loaded(trees):
    """Slicer loads the files at its start: no dialog, no installation, no process, no look into folders."""
    assert [
        f"{name}, line {node.lineno}"
        for name, tree in trees.items()
        for node in tree.body
        if does_something(node)
    ] == []


def test_the_check_finds_untranslated_texts():
    source = """
label.text = "Hello"
label.text = f"{n} voxels"
label.setToolTip(_("Fine") if n else "bad")
label.text = _("{n} voxels").format(n=n)
box.addItem(_("Title"), "data")
box.addItem("Title", "data")
label.text = f"{volume:.2f}"
"""
    found = [literal for text in shown(ast.parse(source)) for literal in untranslated(text)]
    assert found == ["Hello", " voxels", "bad", "Title"]
