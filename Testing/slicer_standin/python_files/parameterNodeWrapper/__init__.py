"""Stand-in for `slicer.parameterNodeWrapper`: typed fields kept in a `vtkMRMLScriptedModuleNode`.

Fields of bool, int, float, str, Path, Enum, MRML nodes, lists of these, and unions of nodes and None; stored
under the names and in the words that Slicer's own wrapper uses, so that each reads the other's nodes.
Not here: dict, tuple, Any, QColor, parameter packs.
"""

from .annotations import (
    Choice,
    Decimals,
    Default,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    SingleStep,
    Validator,
    WithinRange,
)
from .gui_connectors import createGuiConnector
from .wrapper import (
    SlicerParameterNamePropertyName,
    findChildWidgetForParameter,
    isParameterNodeWrapper,
    parameterNodeWrapper,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "createGuiConnector",
    "findChildWidgetForParameter",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]
