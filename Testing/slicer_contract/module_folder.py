"""The check of a module's folder: its `.ui` files, then its `.py` files, with the names of the former."""

from __future__ import annotations

from pathlib import Path

from .findings import Finding
from .python_file import check_python_file
from .ui_file import UiFile


def check_module(folder: Path) -> list[Finding]:
    """All findings in a folder and its subfolders."""
    ui_files = [UiFile(path) for path in sorted(folder.rglob("*.ui"))]
    classes: dict[str, str | None] = {}
    for ui_file in ui_files:
        for name, cls in ui_file.classes.items():
            classes[name] = cls if classes.get(name, cls) == cls else None
    findings = [finding for ui_file in ui_files for finding in ui_file.findings()]
    for path in sorted(folder.rglob("*.py")):
        findings += check_python_file(path, classes)
    return findings
