"""The files that belong to a scene of Slicer, and are not cases of their own."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree


def files_of_scene(path: Path) -> set[Path]:
    """The files of a `.mrml` scene; none for a `.mrb`, which contains its files."""
    if path.suffix.lower() != ".mrml":
        return set()
    try:
        scene = ElementTree.parse(path)  # noqa: S314 - expat 2.4 and newer end exploding entities
        names = [element.get("fileName") for element in scene.iter()]
        return {(path.parent / unquote(name)).resolve() for name in names if name}
    except (ElementTree.ParseError, OSError, ValueError):
        return set()
