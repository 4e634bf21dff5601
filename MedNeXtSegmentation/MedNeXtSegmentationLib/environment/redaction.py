"""Removal of patients' data from a text that a user sends to a developer."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from pathlib import Path, PurePath

import slicer
import vtk

_SHORTEST = 3  # "T1" is no patient's name, and occurs inside other words


def privateWordsOfScene() -> set[str]:
    """Names of images, patients and studies in the scene, and the paths of their files."""
    words: set[str] = set()
    for nodeClass in ("vtkMRMLDisplayableNode", "vtkMRMLTransformNode"):
        for node in slicer.util.getNodesByClass(nodeClass):
            words.add(node.GetName() or "")
            storage = node.GetStorageNode()
            words |= _wordsOfPath(storage.GetFileName() or "") if storage else set()
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    if hierarchy:
        items = vtk.vtkIdList()
        hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
        words |= {hierarchy.GetItemName(items.GetId(index)) for index in range(items.GetNumberOfIds())}
    return {word for word in words if len(word) >= _SHORTEST}


def redacted(text: str, words: Iterable[str]) -> str:
    """The text with these words, the home folder and the computer's name replaced."""
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, "<name>")
    home = str(Path.home())
    for form in {home, home.replace("\\", "/")}:
        text = re.sub(re.escape(form), "~", text, flags=re.IGNORECASE)
    return text.replace(platform.node() or "\0", "<computer>")


def _wordsOfPath(path: str) -> set[str]:
    """The path, the file's name and the folder, each of which a message may contain."""
    if not path:
        return set()
    parts = PurePath(path)
    return {path, parts.name, parts.stem, str(parts.parent)} - {"/", "."}
