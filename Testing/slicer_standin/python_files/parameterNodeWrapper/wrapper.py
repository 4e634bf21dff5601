"""`@parameterNodeWrapper`: typed fields become properties of a parameter node, bound to widgets."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt
import slicer
import vtk

from .annotations import Default, first_of, split_annotations
from .gui_connectors import GuiConnector, createGuiConnector
from .serializers import Serializer, make_serializer

SlicerParameterNamePropertyName = "SlicerParameterName"


@dataclass(frozen=True)
class Field:
    """One typed field: its annotated type, how it is kept, and its first value."""

    datatype: Any
    serializer: Serializer
    default: Default


class _ParameterNodeWrapper:
    """The base of every wrapper; the decorated class derives from it."""

    allParameters: typing.ClassVar[dict[str, Field]]
    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode = parameterNode
        self._connectors: dict[int, dict[str, GuiConnector]] = {}
        self._observer_tags: dict[int, int] = {}
        self._updating_gui = False
        for name, field in self.allParameters.items():
            if not field.serializer.isIn(parameterNode, name):
                field.serializer.write(parameterNode, name, field.default.value)

    def getValue(self, name: str) -> Any:
        field = self._field(name)
        if not field.serializer.isIn(self.parameterNode, name):
            field.serializer.write(self.parameterNode, name, field.default.value)
        return field.serializer.read(self.parameterNode, name)

    def setValue(self, name: str, value: Any) -> None:
        self._field(name).serializer.write(self.parameterNode, name, value)

    def default(self, name: str) -> Default:
        return self._field(name).default

    def isCached(self, name: str) -> bool:
        """Slicer keeps values of all these types beside the node; the stand-in reads the node each time."""
        return bool(self._field(name))

    @classmethod
    def dataType(cls, name: str) -> Any:
        return cls._field(name).datatype

    @classmethod
    def _field(cls, name: str) -> Field:
        if name not in cls.allParameters:
            raise ValueError(
                f"Cannot find a param with the given name: {name}; found {list(cls.allParameters)}"
            )
        return cls.allParameters[name]

    def connectGui(self, gui: Any) -> int:
        """Bind the widgets that have a dynamic property SlicerParameterName; a tag for `disconnectGui`."""
        is_widget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if is_widget else vars(gui).values()
        named = {w.property(SlicerParameterNamePropertyName): w for w in widgets}
        return self.connectParametersToGui({name: w for name, w in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind widgets to fields by name."""
        connectors = {
            name: w if isinstance(w, GuiConnector) else createGuiConnector(w, self.dataType(name))
            for name, w in mapping.items()
        }
        tag = max(self._connectors, default=-1) + 1
        self._connectors[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._taker(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda _caller, _event: self._update_gui())
        self._observer_tags[tag] = observer
        return tag

    def disconnectGui(self, guiTag: int) -> None:
        for connector in self._connectors.pop(guiTag, {}).values():
            connector.onChanged(None)
        if guiTag in self._observer_tags:
            self.RemoveObserver(self._observer_tags.pop(guiTag))

    def _taker(self, name: str, connector: GuiConnector) -> Callable[[], None]:
        def take() -> None:
            if not self._updating_gui:
                self.setValue(name, connector.read())

        return take

    def _update_gui(self) -> None:
        if self._updating_gui:
            return
        self._updating_gui = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in self._connectors.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating_gui = False

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: Any) -> Any:
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Callable[..., Any], priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator, with or without parentheses."""
    return _wrap if classtype is None else _wrap(classtype)


def _wrap(classtype: type) -> type:
    fields = {}
    for name, datatype in typing.get_type_hints(classtype, include_extras=True).items():
        if hasattr(_ParameterNodeWrapper, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        fields[name] = _make_field(classtype, name, datatype)
    members = {key: value for key, value in vars(classtype).items() if key not in ("__dict__", "__weakref__")}
    members |= {name: _make_property(name) for name in fields}
    return type(classtype.__name__, (_ParameterNodeWrapper,), members | {"allParameters": fields})


def _make_field(classtype: type, name: str, datatype: Any) -> Field:
    serializer = make_serializer(datatype)
    if hasattr(classtype, name):
        return Field(datatype, serializer, Default(getattr(classtype, name)))
    default = first_of(Default, split_annotations(datatype)[1])
    return Field(datatype, serializer, default or Default(serializer.default()))


def _make_property(name: str) -> property:
    def read(self: _ParameterNodeWrapper) -> Any:
        return self.getValue(name)

    def write(self: _ParameterNodeWrapper, value: Any) -> None:
        self.setValue(name, value)

    return property(read, write)


def isParameterNodeWrapper(classOrObj: Any) -> bool:
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:
    """The child widget that shows a field, or None."""
    children = widget.findChildren(qt.QWidget)
    return next((w for w in children if w.property(SlicerParameterNamePropertyName) == parameter), None)
