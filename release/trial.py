"""Try the packed files where a user has them: the extension in an empty folder, the wheel in another."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

from release.packages import ROOT

__all__ = ["try_extension", "try_wheel"]

IN_SLICER = """
import sys
from pathlib import Path

import slicer_standin

modules = Path(sys.argv[1])
slicer_standin.start()
module = slicer_standin.load_module(modules / "MedNeXtSegmentation.py")
panel, widget = slicer_standin.show_module("MedNeXtSegmentation")

import mednext
import slicer
from mednext.network.native_library import library_file
from fixtures.scene.volume_nodes import add_volume, head

assert Path(mednext.__file__).is_relative_to(modules), mednext.__file__
assert library_file() is not None and library_file().is_relative_to(modules), library_file()
volume = add_volume(slicer.mrmlScene, head())
node = module.MedNeXtSegmentationLogic().segment(volume, "hippocampus", device="cpu", mirroring=False)
segmentation = node.GetSegmentation()
names = [segmentation.GetNthSegment(i).GetName() for i in range(segmentation.GetNumberOfSegments())]
print("segments:", names)
assert len(names) == 2, names
slicer_standin.close_module("MedNeXtSegmentation")
"""


def try_extension(archive: Path, folder: Path) -> Path:
    """Unpack the extension into an empty folder; load, show and run it from there on the stand-in of Slicer.

    Returns:
        The folder of the unpacked modules.

    Raises:
        subprocess.CalledProcessError: the module does not load, or segments wrongly; its output says why.
    """
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    modules = next(folder.glob("*/lib/Slicer-*/qt-scripted-modules"))
    paths = [modules, ROOT / "Testing"]
    _python(["-c", IN_SLICER, str(modules)], paths, folder)
    return modules


def try_wheel(wheel: Path, folder: Path) -> str:
    """Install the wheel alone into an empty folder, and return the output of its `mednext --version`.

    Raises:
        subprocess.CalledProcessError: it does not install or run; its output says why.
    """
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*install, "--no-index", "--target", str(folder), str(wheel)], check=True)
    return _python(["-m", "mednext", "--version"], [folder], folder).strip()


def _python(arguments: list[str], paths: list[Path], folder: Path) -> str:
    """Run this Python with only these paths before its own packages, in a folder outside the sources."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "QT_QPA_PLATFORM": "offscreen",
    }
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout
