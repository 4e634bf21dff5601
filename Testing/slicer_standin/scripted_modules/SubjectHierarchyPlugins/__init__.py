"""Stand-in for Slicer's package of scripted subject hierarchy plugins: their base class."""

from __future__ import annotations

import slicer


class AbstractScriptedSubjectHierarchyPlugin:
    """Registers itself when it is made; a plugin gives its name before that."""

    def __init__(self, scriptedPlugin):
        self.scriptedPlugin = scriptedPlugin
        slicer.qSlicerSubjectHierarchyPluginHandler.instance().registerPlugin(scriptedPlugin)
