"""The panel: it joins the choices, the checks, the run and the result."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from mednext.errors import CatalogError
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from ..engine.background_segmentation import BackgroundSegmentation
from ..engine.worker_client import shared_client
from ..logic import MedNeXtSegmentationLogic
from ..run_options import RunOptions
from ..scene.found_labels import forget_found
from ..scene.image_description import describe
from ..scene.replaced_segments import forget_all
from .channel_filling import ChannelFilling
from .channel_matching import fits
from .channel_selectors import ChannelSelectors, Volume
from .checks_view import ChecksView
from .drop_target import DropTarget
from .environment_view import EnvironmentView
from .folds_choice import FoldsChoice, foldsOf
from .frames_choice import FramesChoice
from .input_checks import Checks, checkInputs
from .memory_view import MemoryView
from .models_view import ModelsView
from .output_view import OutputView, wantedValues
from .parameters import MedNeXtSegmentationParameterNode, channelNode, plainChoices, setChannelNode
from .remembered_choices import beginWithLastChoices, rememberChoices
from .result_view import ResultView
from .run_view import RunView
from .sections import loadPanel
from .tab_order import orderTabs, readingOrder
from .task_card import TaskCard
from .task_choices import TaskChoice, choiceNamed, taskChoices
from .task_list import TaskList
from .trouble_view import TroubleView
from .weights_view import WeightsView

DICOM_DELAY_MS = 500  # a volume's DICOM attributes come after the volume


class MedNeXtSegmentationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel in Slicer."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameters = None
        self._guiTag = None
        self._choices: list[TaskChoice] = []
        self._observed: list[Any] = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = loadPanel(self._uiPath)
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        self.logic = MedNeXtSegmentationLogic()
        self.taskList = TaskList(self.ui, self._onTask)
        self.taskCard = TaskCard(self.ui, lambda name: self.resourcePath(f"Pictures/{name}"))
        self.modelsView = ModelsView(self.ui, self._onModels)
        self.weightsView = WeightsView(self.ui, self._onModels, self.modelsView.askForCheckpoint)
        self.dropTarget = DropTarget(panel, self.weightsView.importPath)
        self.selectors = ChannelSelectors(
            self.ui.inputsGroup.layout(), self._onChannel, self._onAdded, self._orderTabs
        )
        self.filling = ChannelFilling()
        self.checksView = ChecksView(self.ui)
        self.foldsChoice = FoldsChoice(self.ui, self._onFolds)
        self.framesChoice = FramesChoice(self.ui)
        self.memoryView = MemoryView(self.ui, self._update)
        self.outputView = OutputView(self.ui, self._onLeftOut)
        self.resultView = ResultView(self.ui)
        client = shared_client()
        self.environmentView = EnvironmentView(self.ui, client, self._update, lambda: not self.isBusy())
        self.troubleView = TroubleView(self.ui, client, self.environmentView, self._lastResult)
        self.runView = RunView(
            self.ui,
            self.environmentView.prepareRun,
            self._segmentAsync,
            self._update,
            self._onDone,
            self.troubleView.show,
        )
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        # Later than the selectors, which see that a scene was closed, or read, only at its end.
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneEndClose, priority=-1.0)
        self.addObserver(scene, scene.EndImportEvent, self._onSceneEndImport, priority=-1.0)
        self._listTasks()
        self._bind()
        self._orderTabs()

    def _uiPath(self, name):
        return self.resourcePath(f"UI/{name}")

    def _orderTabs(self):
        order = readingOrder(self._uiPath, "MedNeXtSegmentation.ui")
        orderTabs(self.layout.parentWidget(), order, {"inputsGroup": self.selectors.widgets})

    def cleanup(self):
        self.runView.abandon()
        self.weightsView.command.abandon()
        self.environmentView.abandon()
        self.modelsView.command.abandon()
        self._unbind()
        self.removeObservers()

    def enter(self):
        if not self.isBusy():
            shared_client().prepare()  # the engine takes seconds to start: it is ready at the first click
        self._listTasks()  # a model may have been installed meanwhile
        self._bind()

    def isBusy(self) -> bool:
        """Whether a run is on its way, or something is being installed for it."""
        return self.runView.running or self.environmentView.busy

    def _onSceneStartClose(self, _caller, _event):
        self.runView.abandon()
        self._unbind()
        forget_all()
        forget_found()

    def _onSceneEndClose(self, _caller, _event):
        if self.parent.isEntered:
            self._bind()

    def _onSceneEndImport(self, _caller, _event):
        if self._parameters is not None:
            self._unbind()
            self._bind()

    def _bind(self):
        if self._parameters is None:
            self._parameters = MedNeXtSegmentationParameterNode(self.logic.getParameterNode())
            self._guiTag = self._parameters.connectGui(self.ui)
            self.addObserver(self._parameters, vtk.vtkCommand.ModifiedEvent, self._update)
        if not self._parameters.choice and self._choices:
            names = [choice.name for choice in self._choices]
            beginWithLastChoices(self._parameters, names, names[0])
        self._fillChannels()
        self._update()

    def _unbind(self):
        self._observe([])
        if self._parameters is not None:
            self.removeObserver(self._parameters, vtk.vtkCommand.ModifiedEvent, self._update)
            self._parameters.disconnectGui(self._guiTag)
            self._parameters = None

    def _listTasks(self):
        try:
            self._choices = taskChoices()
        except CatalogError as error:
            self._choices = []
            self.runView.say(str(error), error=True)
        self.taskList.setChoices(self._choices)
        self.modelsView.show(self._choices)

    @property
    def _choice(self) -> TaskChoice | None:
        """What is chosen, if it is still there."""
        return choiceNamed(self._parameters.choice, self._choices)

    @property
    def _channels(self):
        choice = self._choice
        return choice.model.channels if choice and choice.model else ()

    def _chosenNodes(self) -> list[Volume | None]:
        return [channelNode(self._parameters, index) for index in range(len(self._channels))]

    def _onTask(self, name):
        if self._parameters is not None:
            self.runView.say("")  # what was said was about the choice before
            first = channelNode(self._parameters, 0)
            self._parameters.choice = name
            self._parameters.leftOut = []  # another model has other structures
            for channel in range(len(self._channels)):
                setChannelNode(self._parameters, channel, None)
            if len(self._channels) == 1 and first and fits(self._channels[0], describe(first)):
                setChannelNode(self._parameters, 0, first)
            self._fillChannels()
            self._update()

    def _onModels(self, installed):
        """Models have come or gone; a new one is chosen."""
        self._listTasks()
        if installed and self._parameters and not self.isBusy() and self._parameters.choice != installed:
            self._onTask(installed)
        else:
            self._update()

    def _fillChannels(self):
        """Give the channels that have no volume the one that they seem to want."""
        self.selectors.showChannels(self._channels)
        filled = self.filling.fill(self._channels, self._chosenNodes(), self.selectors.volumes())
        for index, node in enumerate(filled):
            setChannelNode(self._parameters, index, node)

    def _onAdded(self):
        self._fillAgain()
        qt.QTimer.singleShot(DICOM_DELAY_MS, self._fillAgain)

    def _fillAgain(self):
        if self._parameters is not None and not self.isBusy():
            self._fillChannels()
            self._update()

    def _onFolds(self, folds):
        if self._parameters is not None:
            self._parameters.folds = folds

    def _onChannel(self, index, node):
        if self._parameters is not None:
            setChannelNode(self._parameters, index, node)
            self.runView.say("")
            if node is not None:  # the others may follow from it: they are of the same study
                self._fillChannels()
            self._update()

    def _onLeftOut(self, values):
        if self._parameters is not None:
            self._parameters.leftOut = values

    def _update(self, _caller=None, _event=None):
        """Show what the parameter node says, and whether it can be segmented."""
        if self._parameters is None:
            return
        self._showChoice()
        self.outputView.show(self._choice.model if self._choice else None, self._parameters)
        nodes = self._chosenNodes()
        self.selectors.setNodes(nodes)
        self.framesChoice.show(nodes, self._parameters)
        self.resultView.show(None if self.isBusy() else self._parameters.result)
        for widget in (
            self.taskList,
            self.ui.roiSelector,
            self.ui.allFramesBox,
            self.ui.outputGroup,
            self.ui.advancedButton,
            self.ui.modelsButton,
        ):
            widget.setEnabled(not self.isBusy())
        self.selectors.setEnabled(not self.isBusy())
        if not self.isBusy():
            self._observe([*nodes, self._parameters.roi])
            self.checksView.show(self._checks())

    def _showChoice(self):
        """Row, card and selectors of what is chosen."""
        choice = self._choice
        self.taskList.select(choice.name if choice else "")
        self.taskCard.show(choice)
        self.weightsView.show(choice)
        self.selectors.showChannels(self._channels)
        self.ui.inputsGroup.visible = bool(self._channels)
        self.foldsChoice.show(choice.model if choice else None, self._parameters.folds)

    def _checks(self) -> Checks:
        choice = self._choice
        if choice is None:
            return Checks(
                _('The model "{name}" is not installed here: choose another.').format(
                    name=self._parameters.choice
                )
            )
        if choice.model is None:
            return Checks(_("The weights are missing: see above how to get them."))
        nodes = self._chosenNodes()
        checks = checkInputs(choice.model, nodes, self._parameters.roi)
        if checks.problem:
            self.memoryView.hide()
            return checks
        problem = self.outputView.problem(choice.model, self._parameters, nodes[0])
        short = self.memoryView.check(choice.model, nodes, self._runOptions())
        return Checks(problem, (*checks.warnings, *short))

    def _observe(self, nodes):
        """Hear of changes of the chosen volumes and the region: they may be fit now, or no longer."""
        nodes = [node for node in nodes if node is not None]
        if nodes == self._observed:
            return
        for node in self._observed:
            self.removeObserver(node, vtk.vtkCommand.ModifiedEvent, self._update)
        self._observed = []
        for node in nodes:
            if node not in self._observed:
                self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._update)
                self._observed.append(node)

    def _segmentAsync(self, onDone, **callbacks) -> BackgroundSegmentation:
        from mednext.store import find_model

        rememberChoices(self._parameters)
        self.troubleView.diagnostics.noteRun(plainChoices(self._parameters))
        return self.logic.segmentAsync(
            self.framesChoice.inputs(),
            str(find_model(self._choice.name)),
            **self.framesChoice.options(vars(self._runOptions()), onDone),
            **callbacks,
        )

    def _runOptions(self) -> RunOptions:
        model, parameters = self._choice.model, self._parameters
        return RunOptions(
            roiNode=parameters.roi,
            device=parameters.device,
            folds=foldsOf(model, parameters.folds),
            mirroring=parameters.mirroring,
            segmentationNode=parameters.segmentation,
            labels=wantedValues(model, parameters) if parameters.leftOut else None,
            uncertainty=parameters.uncertainty,
        )

    def _lastResult(self):
        return self._parameters.result if self._parameters is not None else None

    def _onDone(self, node):
        self._parameters.result = node
        self._update()
