"""Register the command in the context menu of Slicer's subject hierarchy."""

from __future__ import annotations

from pathlib import Path

import slicer

_PLUGIN = "MedNeXtSegmentationSubjectHierarchyPlugin.py"


def offerInSubjectHierarchy() -> None:
    """Register the plugin; Slicer ignores a second one of the same name."""
    plugin = slicer.qSlicerSubjectHierarchyScriptedPlugin(None)
    plugin.setPythonSource(str(Path(__file__).with_name(_PLUGIN)))
