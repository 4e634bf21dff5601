"""The check of a `.ui` file: widget classes, their properties, and the declared connections."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from .findings import Finding
from .members import Kind, is_known, members_of
from .signatures import parse_signature

DESIGNER_CLASSES = {"Line": "QFrame"}


class UiFile:
    """The named objects of a `.ui` file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = ET.parse(path).getroot()
        self.classes = {
            element.get("name", ""): _class_of(element)
            for tag in ("widget", "layout", "action")
            for element in self._root.iter(tag)
        }

    def findings(self) -> list[Finding]:
        """Parts that Slicer's loader would drop or refuse."""
        texts = [*self._widget_findings(), *self._connection_findings()]
        return [Finding(self.path, 0, text) for text in texts]

    def _widget_findings(self) -> Iterator[str]:
        for widget in self._root.iter("widget"):
            name, cls = widget.get("name"), _class_of(widget)
            if not is_known(cls):
                yield f"{name}: Slicer has no widget class {cls}"
                continue
            for info in widget.findall("property"):
                if (cls, info.get("name")) == ("QLabel", "buddy"):  # Qt's loader connects it by name
                    if (target := info.findtext("cstring", "")) not in self.classes:
                        yield f"{name}: there is no widget {target!r} to be its buddy"
                    continue
                # stdset="0" marks a dynamic property, which may have any name.
                member = members_of(cls).get(info.get("name", ""))
                if info.get("stdset") is None and (member is None or member.kind is not Kind.PROPERTY):
                    yield f"{name}: {cls} has no property {info.get('name')!r}"

    def _connection_findings(self) -> Iterator[str]:
        for connection in self._root.iter("connection"):
            for role, kind in (("sender", "signal"), ("receiver", "slot")):
                name, signature = connection.findtext(role, ""), connection.findtext(kind, "")
                cls = self.classes.get(name)
                if cls is None:
                    yield f"a connection names an object that is not there: {name}"
                    continue
                member = members_of(cls).get(parse_signature(signature)[0]) if is_known(cls) else None
                wrong = member is None or (kind == "signal" and not member.has_signature(signature))
                if wrong and not (kind == "slot" and _is_setter(cls, signature)):
                    yield f"connection of {name}: {cls} has no {kind} {signature}"


def _class_of(element: ET.Element) -> str:
    cls = element.get("class", "QAction")
    return DESIGNER_CLASSES.get(cls, cls)


def _is_setter(cls: str, signature: str) -> bool:
    """Qt connects to a slot that PythonQt hides behind a property of the same effect."""
    name = parse_signature(signature)[0].removeprefix("set")
    return bool(name) and f"{name[0].lower()}{name[1:]}" in members_of(cls)
