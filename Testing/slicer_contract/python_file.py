"""The check of a `.py` file: every use of a widget whose class is known without running the code.

Told are `qt.QLabel(...)`, `ctk.ctk...(...)`, `slicer.q...(...)`, variables and attributes that got one of
these, `slicer.app` and its managers, and `self.ui.<name>` by the `.ui` files.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

from .facts import slicer_classes
from .findings import Finding
from .members import Kind, is_known, members_of

OF_UI_FILE = re.compile(r"(?:^|\.)_?ui\.(\w+)$")
CONSTRUCTOR = re.compile(r"^(?:qt\.(Q\w+)|ctk\.(ctk\w+)|slicer\.(q(?:MRML|Slicer)\w+))$")
OF_SLICER_APP = {
    "slicer.app.layoutManager": "qSlicerLayoutManager",
    "slicer.app.moduleManager": "qSlicerModuleManager",
    "slicer.app.coreIOManager": "qSlicerCoreIOManager",
    "slicer.app.ioManager": "qSlicerIOManager",
}


def check_python_file(path: Path, ui_classes: Mapping[str, str | None]) -> list[Finding]:
    """ui_classes: the class of each named object of the `.ui` files, None where two files disagree."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    check = _Check(path, ui_classes)
    # A method may use attributes that a later one assigns: the first round only learns their classes.
    check.visit(tree)
    check.findings.clear()
    check.visit(tree)
    return check.findings


class _Check(ast.NodeVisitor):
    def __init__(self, path: Path, ui_classes: Mapping[str, str | None]) -> None:
        self.findings: list[Finding] = []
        self._path, self._ui_classes = path, ui_classes
        self._classes: dict[str, str | None] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Local names end with their function; `self....` lives on."""
        before = self._classes.copy()
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        for argument in arguments:
            self._classes.pop(argument.arg, None)
        self.generic_visit(node)
        attributes = {name: cls for name, cls in self._classes.items() if "." in name}
        self._classes = before | attributes

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        made = self._class_of(node.value)
        for target in node.targets:
            if isinstance(target, ast.Attribute):
                self._check_attribute(target, is_assigned=True)
            if name := _dotted(target):
                self._learn(name, made, is_none=isinstance(node.value, ast.Constant))

    def _learn(self, name: str, made: str | None, is_none: bool) -> None:
        """One name, one class: a name that gets different things is not judged."""
        known = self._classes.get(name, made)
        if made and known == made:
            self._classes[name] = made
        elif name in self._classes and not is_none:
            self._classes[name] = None

    def visit_Call(self, node: ast.Call) -> None:
        name = _dotted(node.func) or ""
        if match := CONSTRUCTOR.match(name):
            cls = next(filter(None, match.groups()))
            if not (
                cls in slicer_classes() if cls[0] == "c" or name.startswith("slicer.") else is_known(cls)
            ):
                self._note(node, f"Slicer has no {name}")
            elif node.keywords:
                self._note(node, f"{name}() takes no keyword arguments in PythonQt")
        if isinstance(node.func, ast.Attribute) and (cls_of_object := self._class_of(node.func.value)):
            self._check_call(node, node.func.attr, cls_of_object)
        self.generic_visit(node)

    def _check_call(self, node: ast.Call, method: str, cls: str) -> None:
        member = members_of(cls).get(method)
        if member and member.kind is Kind.PROPERTY:
            self._note(node, f"{cls}.{method} is a property: it cannot be called")
        if node.keywords:
            self._note(node, f"{cls}.{method}() takes no keyword arguments in PythonQt")
        first = node.args[0] if node.args else None
        if (
            method in ("connect", "disconnect")
            and isinstance(first, ast.Constant)
            and isinstance(first.value, str)
        ):
            signal = members_of(cls).get(first.value.partition("(")[0])
            if signal is None or signal.kind is not Kind.SIGNAL or not signal.has_signature(first.value):
                has = sorted(set(signal.signatures)) if signal else "none of this name"
                self._note(node, f"{cls} has no signal {first.value!r}; it has {has}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            self._check_attribute(node, is_assigned=False)
        self.generic_visit(node)

    def _check_attribute(self, node: ast.Attribute, is_assigned: bool) -> None:
        match = OF_UI_FILE.search(_dotted(node) or "")
        if match and self._ui_classes and match[1] not in self._ui_classes:
            self._note(node, f"no .ui file has an object {match[1]!r}")
        cls = self._class_of(node.value)
        if not cls:
            return
        member = members_of(cls).get(node.attr)
        if member is None:
            self._note(node, f"{cls} shows no {node.attr!r} to Python")
        elif is_assigned and member.kind is not Kind.PROPERTY:
            self._note(node, f"{cls}.{node.attr} is a {member.kind.value}: it cannot be assigned")
        elif is_assigned and not member.is_writable:
            self._note(node, f"{cls}.{node.attr} is read-only")

    def _class_of(self, node: ast.expr) -> str | None:
        """The class of an expression, or None."""
        if isinstance(node, ast.Call):
            name = _dotted(node.func) or ""
            match = CONSTRUCTOR.match(name)
            cls = next(filter(None, match.groups())) if match else OF_SLICER_APP.get(name)
        else:
            name = _dotted(node) or ""
            of_ui_file = OF_UI_FILE.search(name)
            if name == "slicer.app":
                cls = "qSlicerApplication"
            else:
                cls = self._ui_classes.get(of_ui_file[1]) if of_ui_file else self._classes.get(name)
        return cls if cls and is_known(cls) else None

    def _note(self, node: ast.AST, text: str) -> None:
        self.findings.append(Finding(self._path, getattr(node, "lineno", 0), text))


def _dotted(node: ast.expr) -> str | None:
    """`self.ui.button` of its syntax tree; None for anything that is not names and dots."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])
