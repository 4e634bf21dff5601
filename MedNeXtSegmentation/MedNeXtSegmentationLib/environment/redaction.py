"""Removal of patients' data and of secrets from a text that a user sends to a developer."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from pathlib import PurePath

import slicer
import vtk
from mednext.library.folder_locations import expanded
from mednext.system.child_processes import child_environment, is_secret

from .. import settings

_DICOM = "DICOM"  # the name of UIDs, and the beginning of names of attributes
_PASSWORD = re.compile(r"//[^/?#\s@]+@")  # of an address: of a proxy, or of a package index
_SHORTEST = 3  # "T1" is no patient's name, and occurs inside other words


def privateWordsOfScene() -> set[str]:
    """Names, DICOM attributes and UIDs of images, patients and studies in the scene, and their files."""
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
        for index in range(items.GetNumberOfIds()):
            item = items.GetId(index)
            words |= {hierarchy.GetItemName(item), hierarchy.GetItemUID(item, _DICOM)}
            names = hierarchy.GetItemAttributeNames(item)
            words |= {hierarchy.GetItemAttribute(item, name) for name in names if name.startswith(_DICOM)}
    return {word for word in words if len(word) >= _SHORTEST}


def secretsInUse() -> set[str]:
    """The key and the address of the server, and the values of variables that child processes do not get."""
    kept = child_environment()
    secrets = {value for name, value in os.environ.items() if name not in kept and is_secret(name)}
    server = settings.SERVER_ADDRESS.get()
    host = server.partition("//")[2].partition("/")[0]
    found = {*secrets, settings.SERVER_KEY.get(), server, host, host.rpartition(":")[0]}
    return {each for each in found if len(each) >= _SHORTEST}


def redacted(text: str, words: Iterable[str]) -> str:
    """The text with these words, secrets, passwords, the home folder and the computer's name replaced."""
    text = _PASSWORD.sub("//***@", text)
    for word in sorted(secretsInUse(), key=len, reverse=True):
        text = text.replace(word, "<secret>")
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, "<name>")
    home = str(expanded("~"))
    for form in {home, home.replace("\\", "/")}:
        text = re.sub(re.escape(form), "~", text, flags=re.IGNORECASE)
    return text.replace(platform.node() or "\0", "<computer>")


def _wordsOfPath(path: str) -> set[str]:
    """The path, the file's name and the folder, each of which a message may contain."""
    if not path:
        return set()
    parts = PurePath(path)
    return {path, parts.name, parts.stem, str(parts.parent)} - {"/", "."}
