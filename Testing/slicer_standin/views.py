"""Pictures: Slicer's own displayable managers draw into offscreen windows (EGL or OSMesa, no X server)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from .core import Core

SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
)


class View:
    """An offscreen window with a group of displayable managers that follow a view node."""

    node: slicer.vtkMRMLAbstractViewNode

    def __init__(self, core: Core, size: tuple[int, int], factory: type, managers: tuple[str, ...]) -> None:
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetShowWindow(False)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        # Displayable managers need an interactor, even without interaction.
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        # VTK first complains about a missing X server, then uses EGL or OSMesa.
        vtk.vtkObject.GlobalWarningDisplayOff()
        self._interactor.Initialize()
        vtk.vtkObject.GlobalWarningDisplayOn()
        instance = factory.GetInstance()  # type: ignore[attr-defined]
        instance.SetMRMLApplicationLogic(core.application_logic)
        for manager in managers:
            if not instance.IsDisplayableManagerRegistered(manager):
                instance.RegisterDisplayableManager(manager)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.SetRenderer(self.renderer)
        self.group.Initialize(instance, self.renderer)

    def show_orientation(self) -> None:
        """Arrows in the corner say where right, anterior and superior are."""
        self.node.SetOrientationMarkerType(slicer.vtkMRMLAbstractViewNode.OrientationMarkerTypeAxes)
        self.node.SetOrientationMarkerSize(slicer.vtkMRMLAbstractViewNode.OrientationMarkerSizeMedium)

    def image(self) -> np.ndarray:
        """The picture (rows, columns, RGB), uint8, first row on top."""
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        output = grabber.GetOutput()
        columns, rows, _ = output.GetDimensions()
        return vtk_to_numpy(output.GetPointData().GetScalars()).reshape(rows, columns, 3)[::-1].copy()


class SliceView(View):
    """A slice view; the name must not be that of a view of the application's layout (Red, Green, Yellow)."""

    def __init__(
        self, core: Core, name: str, orientation: str = "Axial", size: tuple[int, int] = (500, 500)
    ) -> None:
        super().__init__(core, size, slicer.vtkMRMLSliceViewDisplayableManagerFactory, SLICE_MANAGERS)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        # The image hides everything drawn before it: draw it first.
        self.renderer.AddViewProp(self._actor)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(core.application_logic)
        core.application_logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(core.scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        self.group.SetMRMLDisplayableNode(self.node)

    def show(self, volume: slicer.vtkMRMLVolumeNode) -> None:
        """The volume in the background, the whole slice in the window."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self.logic.ResizeSliceNode(*self.window.GetSize())
        self.logic.FitSliceToBackground()
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())

    def centre(self, ras: tuple[float, float, float], field_of_view_mm: float) -> None:
        """The slice through a point (RAS, mm), which comes to lie in the middle."""
        self.node.JumpSliceByCentering(*ras)
        columns, rows = self.window.GetSize()
        self.node.SetFieldOfView(field_of_view_mm, field_of_view_mm * rows / columns, 1)


class ThreeDView(View):
    """A 3D view with the application's background."""

    def __init__(self, core: Core, size: tuple[int, int] = (600, 600)) -> None:
        super().__init__(core, size, slicer.vtkMRMLThreeDViewDisplayableManagerFactory, THREE_D_MANAGERS)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(core.application_logic)
        core.application_logic.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(core.scene)
        self.node = self.logic.AddViewNode("1")
        self.node.SetBackgroundColor(0.76, 0.76, 0.91)
        self.node.SetBackgroundColor2(0.46, 0.47, 0.75)
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self.group.SetMRMLDisplayableNode(self.node)

    def look(self, from_ras: tuple[float, float, float]) -> None:
        """Everything that is shown, seen from a direction (RAS), superior up."""
        bounds = [0.0] * 6
        self.renderer.ComputeVisiblePropBounds(bounds)
        centre = [(bounds[axis] + bounds[axis + 1]) / 2 for axis in (0, 2, 4)]
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(centre)
        camera.SetPosition([c + 500 * d for c, d in zip(centre, from_ras, strict=True)])
        camera.SetViewUp(0, 0, 1)
        self.renderer.ResetCamera()
        self.renderer.ResetCameraClippingRange()


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a picture (rows, columns, RGB), uint8."""
    slicer_image = vtk.vtkImageData()
    rows, columns, _ = image.shape
    slicer_image.SetDimensions(columns, rows, 1)
    slicer_image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    vtk_to_numpy(slicer_image.GetPointData().GetScalars())[:] = image[::-1].reshape(-1, 3)
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(slicer_image)
    writer.Write()
