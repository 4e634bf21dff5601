"""A scene read from a file beside Slicer's own, which is neither changed nor cleared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import is_zipfile

import slicer
from mednext.errors import UnreadableImageError


@contextmanager
def sceneFromFile(path: Path) -> Iterator[slicer.vtkMRMLScene]:
    """The scene in a `.mrb` or `.mrml` file, for the time of the block.

    Slicer's main thread reads it, and the windows freeze meanwhile.

    Raises `UnreadableImageError` when the file holds no scene.
    """
    scene = slicer.vtkMRMLScene()
    slicer.mrmlScene.CopyRegisteredNodesToScene(scene)
    scene.SetDataIOManager(slicer.mrmlScene.GetDataIOManager())
    scene.SetCacheManager(slicer.mrmlScene.GetCacheManager())
    try:
        _read(scene, path)
        yield scene
    finally:
        scene.Clear(1)


def _read(scene: slicer.vtkMRMLScene, path: Path) -> None:
    """Fill the scene. Volumes with missing files stay empty and are refused later."""
    bundle = path.suffix.lower() == ".mrb"
    if bundle and not is_zipfile(path):
        raise UnreadableImageError(f"{path} is damaged or no scene: save it again.")
    messages = slicer.vtkMRMLMessageCollection()
    folder = Path.cwd()
    try:
        if bundle:
            read = scene.ReadFromMRB(str(path), True, messages)
        else:
            scene.SetURL(str(path))
            scene.SetRootDirectory(str(path.parent))
            read = scene.Connect(messages)
    finally:
        os.chdir(folder)  # reading a damaged bundle leaves the process in a removed folder
    if not read and not scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"):
        told = " ".join(messages.GetAllMessagesAsString().split())
        raise UnreadableImageError(f"{path} could not be read as a scene ({told or 'no reason given'}).")
