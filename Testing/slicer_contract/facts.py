"""The interfaces of Slicer's, CTK's and Qt's classes in Python, read from their headers (see README.md).

`slicer_widgets.json`: a class of Slicer or CTK a line, with the words of Qt's meta-object compiler.
`qt_wrappers.json`: a class of Qt 5.15 a line, with the additions of PythonQt's wrappers.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class PropertyFacts:
    """A Q_PROPERTY: its C++ type, the setter (empty: read-only) and the signal of a change (empty: none)."""

    type: str
    setter: str = ""
    notify: str = ""


@dataclass(frozen=True)
class ClassFacts:
    """The additions of a class to its base: signals and methods by name, with all signatures."""

    name: str
    base: str
    properties: dict[str, PropertyFacts] = field(default_factory=dict)
    signals: dict[str, list[str]] = field(default_factory=dict)
    methods: dict[str, list[str]] = field(default_factory=dict)
    enums: dict[str, list[str]] = field(default_factory=dict)

    def enum_values(self) -> Iterator[tuple[str, int]]:
        """Every value's name with its place in its enum; the true numbers are not in the headers' facts."""
        for names in self.enums.values():
            yield from ((name, place) for place, name in enumerate(names))


@dataclass(frozen=True)
class WrapperFacts:
    """The methods and enum values of PythonQt's generated wrapper of a class of Qt."""

    methods: list[str]
    enums: list[str]


@functools.cache
def slicer_classes() -> dict[str, ClassFacts]:
    """The classes of Slicer and CTK by name."""
    entries = json.loads((HERE / "slicer_widgets.json").read_text(encoding="utf-8"))
    classes = {}
    for name, entry in entries.items():
        properties = {key: PropertyFacts(*value) for key, value in entry.pop("properties", {}).items()}
        classes[name] = ClassFacts(name, properties=properties, **entry)
    return classes


@functools.cache
def qt_wrappers() -> dict[str, WrapperFacts]:
    """PythonQt's wrappers by the name of the Qt class."""
    entries = json.loads((HERE / "qt_wrappers.json").read_text(encoding="utf-8"))
    return {name: WrapperFacts(**entry) for name, entry in entries.items()}


def lineage(name: str) -> list[str]:
    """The class and its bases, the nearest first, up to and with the first one of Qt."""
    names = [name]
    while names[-1] in slicer_classes() and slicer_classes()[names[-1]].base:
        names.append(slicer_classes()[names[-1]].base)
    return names
