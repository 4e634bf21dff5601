"""`slicer.app.layoutManager()`: real slice logics without windows, and a record of the calls of 3D views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import slicer

from .core import Core
from .widgets.contract_class import contract_class

SLICE_VIEWS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
CAMERA_CALLS = ("resetFocalPoint", "resetCamera", "rotateToViewAxis", "forceRender", "scheduleRender")


class Part:
    """A piece of a view that answers these calls only."""

    def __init__(self, **calls: Callable[..., Any]) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in self._calls:
            raise NotImplementedError(f"{name}() of a view is not in the stand-in")
        return self._calls[name]


class qSlicerLayoutManager(contract_class("qSlicerLayoutManager")):
    """Pictures of views come from views.py; `_called` lists the calls of 3D views."""

    _defaults: ClassVar[dict[str, Any]] = {"threeDViewCount": 1, "enabled": True}

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._core = core
        self._called: list[tuple[Any, ...]] = []
        self._slice_logics = {name: self._add_slice(name, SLICE_VIEWS[name]) for name in SLICE_VIEWS}

    def _add_slice(self, name: str, orientation: str) -> slicer.vtkMRMLSliceLogic:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._core.application_logic)
        logic.SetMRMLScene(self._core.scene)
        node = logic.AddSliceNode(name)
        node.SetSingletonTag(name)
        node.SetOrientation(orientation)
        self._core.application_logic.GetSliceLogics().AddItem(logic)
        return logic

    def setLayout(self, layout: int) -> None:
        self.layout = layout

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        return self._core.scene

    def mrmlSliceLogics(self) -> Any:
        return self._core.application_logic.GetSliceLogics()

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._slice_logics)

    def sliceWidget(self, name: str) -> Part | None:
        logic = self._slice_logics.get(name)
        if logic is None:
            return None

        def fit(*_arguments: Any) -> None:
            logic.FitSliceToBackground()

        controller = Part(setSliceVisible=logic.GetSliceNode().SetSliceVisible, fitSliceToBackground=fit)
        view = Part(mrmlSliceNode=logic.GetSliceNode, forceRender=_nothing, scheduleRender=_nothing)
        return Part(
            sliceLogic=lambda: logic,
            mrmlSliceNode=logic.GetSliceNode,
            fitSliceToBackground=fit,
            sliceController=lambda: controller,
            sliceView=lambda: view,
        )

    def threeDWidget(self, _index: int) -> Part:
        view = Part(**{name: self._noting(name) for name in CAMERA_CALLS})
        controller = Part(resetFocalPoint=self._noting("resetFocalPoint"))
        return Part(threeDView=lambda: view, threeDController=lambda: controller)

    def _noting(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self._called.append((name, *arguments))

    def resetThreeDViews(self) -> None:
        self._called.append(("resetThreeDViews",))

    def resetSliceViews(self) -> None:
        for logic in self._slice_logics.values():
            logic.FitSliceToBackground()

    def setRenderPaused(self, _paused: bool) -> None:
        """Nothing is drawn."""


def _nothing(*_arguments: Any) -> None:
    """Nothing is drawn."""
