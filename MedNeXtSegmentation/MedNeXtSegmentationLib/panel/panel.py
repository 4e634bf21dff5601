"""The panel, which joins choices, checks, run and result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import qt
import slicer
import vtk
from mednext.errors import CatalogError, SuspectInputError
from mednext.inputs.channel_matching import fits
from mednext.model.description import Model
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..batch.scene_batch import SceneResult
from ..engine.run import Run
from ..engine.worker_client import client_for, shared_client
from ..environment.repair_plan import hasEngine
from ..logic import MedNeXtSegmentationLogic
from ..run_options import RunOptions
from ..scene.side_boxes import show_boxes
from ..scene.volumes.image_description import describe
from ..scene.volumes.voxel_sample import last_change
from .environment.environment_view import EnvironmentView
from .environment.error_buttons import ErrorButtons
from .inputs.boxes_row import BoxesRow
from .inputs.channel_filling import ChannelFilling
from .inputs.channel_selectors import ChannelSelectors, Volume
from .inputs.checks_view import ChecksView
from .inputs.chosen_images import ChosenImages, outcomeOf
from .inputs.frames_choice import FramesChoice
from .inputs.input_checks import Checks, checkInputs
from .models.drop_target import DropTarget
from .models.models_view import ModelsView
from .models.sample_button import SampleButton
from .models.task_card import TaskCard
from .models.task_choices import TaskChoice, choiceNamed, servedChoices, taskChoices
from .models.task_list import TaskList
from .models.weights_view import WeightsView
from .parameter_node import MedNeXtSegmentationParameterNode, channelNode, plainChoices, setChannelNode
from .remembered_choices import beginWithLastChoices, rememberChoices
from .result.result_view import ResultView
from .run.memory_view import MemoryView
from .run.output_view import OutputView, mayReplaceCorrected, wantedValues
from .run.quality_choice import QualityChoice, networkOptions
from .run.run_view import RunView
from .run.server_view import ServerView
from .tab_order import orderTabs, readingOrder
from .watched_nodes import WatchedNodes

DICOM_DELAY_MS = 500  # a volume's DICOM attributes come after the volume


class Panel(VTKObservationMixin):
    """The whole panel.

    root: the widget of `sections.loadPanel`; `ui` has its children by their names.
    resourcePath: returns the whole path of one below the folder Resources.
    """

    def __init__(
        self, root: Any, ui: Any, logic: MedNeXtSegmentationLogic, resourcePath: Callable[[str], str]
    ) -> None:
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self._root = root
        self._logic = logic
        self.parameters: MedNeXtSegmentationParameterNode | None = None
        self._guiTag: int | None = None
        self._choices: list[TaskChoice] = []
        self._watched = WatchedNodes(self._update)
        self.taskList = TaskList(ui, self._onTask)
        self.taskCard = TaskCard(ui, lambda name: resourcePath(f"Pictures/{name}"))
        self.modelsView = ModelsView(ui, self.showModels)
        self.weightsView = WeightsView(ui, self.showModels, self.modelsView.askForCheckpoint, self._onTask)
        self.dropTarget = DropTarget(root, self.weightsView.importPath)
        self.selectors = ChannelSelectors(ui.inputsForm, self._onChannel, self._onAdded, self._orderTabs)
        self.filling = ChannelFilling()
        self.chosenImages = ChosenImages(ui, self._update)
        self.checksView = ChecksView(ui)
        self.qualityChoice = QualityChoice(ui)
        self.framesChoice = FramesChoice(ui)
        self.boxesRow = BoxesRow(ui, self._update)
        self.memoryView = MemoryView(ui, self._update)
        self.serverView = ServerView(ui, self._onPlace)
        self.outputView = OutputView(ui, self._onLeftOut)
        self.resultView = ResultView(ui)
        client = shared_client()
        self.environmentView = EnvironmentView(ui, client, self._update, lambda: not self.isBusy())
        self.errorButtons = ErrorButtons(ui, client, self.environmentView, self._lastResult)
        self.runView = RunView(
            ui,
            self._prepareRun,
            self._segmentAsync,
            self._update,
            self.showResult,
            self._onError,
        )
        self.sampleButton = SampleButton(ui, lambda volume: self._onChannel(0, volume), self.runView.say)
        self._readingOrder = readingOrder(lambda name: resourcePath(f"UI/{name}"), "MedNeXtSegmentation.ui")
        self._isNew = True
        self.listTasks()
        self.bind()
        self.serverView.ask()
        if not self.selectors.widgets:  # otherwise new selectors have called it
            self._orderTabs()

    def _orderTabs(self):
        orderTabs(self._root, self._readingOrder, {"inputsGroup": self.selectors.widgets})

    def abandon(self) -> None:
        """Cancel and forget everything that runs, when the panel is closed."""
        self.runView.abandon()
        self.weightsView.command.abandon()
        self.serverView.abandon()
        self.environmentView.abandon()
        self.modelsView.command.abandon()
        self.resultView.files.abandon()
        self.unbind()
        self.removeObservers()

    def enter(self) -> None:
        """Update the panel when the user opens it."""
        if not self.isBusy():
            self._prepareEngine()
        if not self._isNew:
            self.listTasks()  # a model may have been installed elsewhere
            self.bind()
            if self.serverView.problem():
                self.serverView.ask()  # it may answer by now
            self.resultView.followCorrections()
        self._isNew = False

    def _prepareEngine(self):
        """Start the process of the next run, which takes seconds."""
        if self.serverView.chosen:
            if not self.serverView.problem():
                client_for(self.serverView.server()).prepare()
        elif hasEngine():  # one that lacks packages would report that after they were installed, too
            shared_client().prepare()

    def _prepareRun(self, onStage: Callable[[str], None]) -> str:
        """See `EnvironmentView.prepareRun`; a run on a server needs no PyTorch here."""
        return "" if self.serverView.chosen else self.environmentView.prepareRun(onStage)

    def _onPlace(self):
        if self.parameters is not None:
            self._prepareEngine()
            self.showModels(None)

    def isBusy(self) -> bool:
        """Whether a run or an installation is running."""
        return self.runView.running or self.environmentView.busy

    def forgetScene(self) -> None:
        """Let go of all nodes before the scene is closed."""
        self.runView.abandon()
        self.unbind()
        self.chosenImages.forget()

    def bindAgain(self) -> None:
        """Show the choices of a newly read scene."""
        if self.parameters is not None:
            self.unbind()
            self.bind()

    def bind(self) -> None:
        """Show the choices of the scene, or the user's last ones if it has none."""
        if self.parameters is None:
            self.parameters = MedNeXtSegmentationParameterNode(self._logic.getParameterNode())
            self._guiTag = self.parameters.connectGui(self.ui)
            self.addObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self._update)
        self._beginChoices()
        self._fillChannels()
        self._update()

    def _beginChoices(self):
        if not self.parameters.choice and self._choices:
            names = [choice.name for choice in self._choices]
            beginWithLastChoices(self.parameters, names, names[0])

    def unbind(self) -> None:
        """Let go of the scene's choices."""
        self._watched.watch([])
        if self.parameters is not None:
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self._update)
            self.parameters.disconnectGui(self._guiTag)
            self.parameters = None

    def segmentSeveral(self, volumes: Sequence[Volume]) -> None:
        """Take these images, to be segmented one after the other; a single one goes into its selector."""
        if self.parameters is None:
            return
        if self.isBusy():
            self.runView.say(
                _("A run or an installation is running: choose the images again when it has ended.")
            )
            return
        single = len(volumes) == 1 and len(self._channels) == 1
        self.chosenImages.choose([] if single else volumes)
        if single:
            self._onChannel(0, volumes[0])

    def listTasks(self) -> None:
        """List the models and tasks again, or the models of a chosen server."""
        labels = self._labels()
        try:
            here = taskChoices()
            self._choices = self._served() if self.serverView.chosen else here
        except CatalogError as error:
            self._choices = here = []
            self.runView.say(str(error), error=True)
        self.taskList.setChoices(self._choices)
        self.modelsView.show(here)
        if self._choices and self.parameters is not None and labels and self._labels() != labels:
            self.parameters.leftOut = []  # the values may mean other structures

    def _served(self) -> list[TaskChoice]:
        server = self.serverView.server() if self.serverView.models else None
        return servedChoices(self.serverView.models, server.name) if server else []

    def _labels(self):
        choice = self.choice if self.parameters is not None else None
        return choice.model.labels if choice and choice.model else ()

    @property
    def choice(self) -> TaskChoice | None:
        """The chosen row, if it still exists."""
        return choiceNamed(self.parameters.choice, self._choices)

    @property
    def _channels(self):
        choice = self.choice
        return choice.model.channels if choice and choice.model else ()

    def _chosenNodes(self) -> list[Volume | None]:
        return [channelNode(self.parameters, index) for index in range(len(self._channels))]

    def _onTask(self, name):
        if self.parameters is not None:
            self.runView.say("")  # the message concerned the choice before
            first, quality = channelNode(self.parameters, 0), self.qualityChoice.quality
            self.parameters.choice = name
            self.qualityChoice.apply(quality, self.choice.model if self.choice else None)
            self.parameters.leftOut = []  # the values of another model's structures
            for channel in range(len(self._channels)):
                setChannelNode(self.parameters, channel, None)
            if len(self._channels) == 1 and first and fits(self._channels[0], describe(first)):
                setChannelNode(self.parameters, 0, first)
            self._fillChannels()
            self._update()

    def showModels(self, installed: str | None) -> None:
        """List the models after a change, and choose a newly installed one."""
        self.listTasks()
        if installed and self.parameters and not self.isBusy() and self.parameters.choice != installed:
            self._onTask(installed)
        elif self.parameters is not None:
            self._beginChoices()
            self._fillChannels()
            self._update()

    def _fillChannels(self):
        """Choose volumes for the channels that have none."""
        self.selectors.showChannels(self._channels)
        filled = self.filling.fill(self._channels, self._chosenNodes(), self.selectors.volumes())
        for index, node in enumerate(filled):
            setChannelNode(self.parameters, index, node)

    def _onAdded(self):
        self._fillAgain()
        qt.QTimer.singleShot(DICOM_DELAY_MS, self._fillAgain)

    def _fillAgain(self):
        if self.parameters is not None and not self.isBusy():
            self._fillChannels()
            self._update()

    def _onChannel(self, index, node):
        if self.parameters is not None:
            setChannelNode(self.parameters, index, node)
            self.runView.say("")
            if node is not None:  # the other channels may follow, from the same study
                self._fillChannels()
            self._update()

    def _onLeftOut(self, values):
        if self.parameters is not None:
            self.parameters.leftOut = values

    def _update(self, _caller=None, _event=None):
        """Show the state of the parameter node, and the checks of its choices."""
        if self.parameters is None:
            return
        self._showChoice()
        nodes = self._chosenNodes()
        self.selectors.setNodes(nodes)
        self.framesChoice.show(nodes, self.parameters)
        model = self.choice.model if self.choice else None
        self.chosenImages.show(model)
        several = bool(self.chosenImages.volumes)
        first = nodes[0] if nodes and not several else None
        self.boxesRow.show(model, first, self.parameters.roi)
        for selector in self.selectors.widgets:
            selector.enabled = not several
        self.outputView.show(None if several else model, self.parameters, self.framesChoice.all)
        self.resultView.show(None if self.isBusy() else self.parameters.result)
        for widget in (
            self.taskList,
            self.ui.sampleButton,
            self.ui.inputsGroup,
            self.ui.outputGroup,
            self.ui.qualityBox,
            self.ui.advancedButton,
            self.ui.modelsButton,
        ):
            widget.setEnabled(not self.isBusy())
        if not self.isBusy():
            self._watched.watch([*nodes, self.parameters.roi, *self.boxesRow.nodes()])
            images = self.chosenImages.volumes or nodes
            inputs = (self.parameters.choice, self.framesChoice.all, *map(last_change, images))
            self.checksView.show(self._checks(), inputs)

    def _showChoice(self):
        """Show row, card and selectors of the choice."""
        choice = self.choice
        self.taskList.select(choice.name if choice else "")
        self.taskCard.show(choice)
        self.sampleButton.show(choice)
        self.weightsView.show(choice)
        self.selectors.showChannels(self._channels)
        self.ui.inputsGroup.visible = bool(self._channels)
        model = choice.model if choice else None
        self.qualityChoice.show(model, self.parameters)

    def _checks(self) -> Checks:
        self.memoryView.hide()  # until a run is possible
        choice = self.choice
        if problem := self.serverView.problem():
            return Checks(problem)
        if choice is None:
            told = (
                _('The server has no model "{name}": choose another.')
                if self.serverView.chosen
                else _('The model "{name}" is not installed here: choose another.')
            )
            return Checks(told.format(name=self.parameters.choice))
        if choice.model is None:
            return Checks(_("The weights are missing: see above how to get them."))
        if self.chosenImages.volumes:
            checks = self.chosenImages.checks(choice.model)
        else:
            checks = self._checksOf(choice.model)
        return replace(checks, warnings=(*self.serverView.warnings(), *checks.warnings))

    def _checksOf(self, model: Model) -> Checks:
        """The checks of the images in the selectors."""
        nodes = self._chosenNodes()
        checks = checkInputs(model, nodes, self.parameters.roi)
        if checks.problem:
            return checks
        problem = self.outputView.problem(model, self.parameters, nodes[0], self.framesChoice.all)
        short = self.memoryView.check(model, nodes, self._runOptions(), self.framesChoice.count)
        other = () if self.framesChoice.all else self.outputView.warnings(self.parameters, nodes[0])
        return replace(checks, problem=problem, warnings=(*checks.warnings, *other, *short))

    def _modelOfRun(self) -> str | Model:
        """The folder of the chosen model, or its description by the server."""
        from mednext.library.store import find_model

        return self.choice.model if self.choice.server else str(find_model(self.choice.name))

    def _segmentAsync(self, onDone, **callbacks) -> Run:
        rememberChoices(self.parameters)
        self.errorButtons.diagnostics.noteRun(plainChoices(self.parameters))
        if self.chosenImages.volumes:
            return self._logic.segmentSceneAsync(
                self._modelOfRun(),
                volumeNodes=self.chosenImages.volumes,
                onDone=onDone,
                **vars(replace(self._runOptions(), segmentationNode=None, boxNodes=None)),
                **callbacks,
            )
        return self._logic.segmentAsync(
            self.framesChoice.inputs(),
            self._modelOfRun(),
            **self.framesChoice.options(vars(self._askedOptions()), onDone),
            **callbacks,
        )

    def _askedOptions(self) -> RunOptions:
        """The options of a run, after a question if it would replace corrected segments."""
        options = self._runOptions()
        if options.segmentationNode is None:
            return options
        return replace(options, replaceCorrected=mayReplaceCorrected(self.choice.model, self.parameters))

    def _runOptions(self) -> RunOptions:
        model, parameters = self.choice.model, self.parameters
        return RunOptions(
            roiNode=parameters.roi,
            boxNodes=self.boxesRow.moved or None,
            device="auto" if self.serverView.chosen else parameters.device,
            server=self.serverView.server(),
            **networkOptions(model, parameters),
            segmentationNode=None if self.framesChoice.all else parameters.segmentation,
            labels=wantedValues(model, parameters) if parameters.leftOut else None,
            uncertainty=parameters.uncertainty,
            insist=self.checksView.insisted,
        )

    def _onError(self, error: Exception | None) -> None:
        self.errorButtons.show(error)
        if isinstance(error, SuspectInputError):
            self.checksView.refuse()

    def _lastResult(self):
        return self.parameters.result if self.parameters is not None else None

    def showResult(self, result: slicer.vtkMRMLSegmentationNode | list[SceneResult]) -> None:
        """Show the result of a finished run; of several images the last result, and a sentence on all."""
        if isinstance(result, list):
            self.runView.say(outcomeOf(result))
            result = next((each.segmentationNode for each in reversed(result) if each.segmentationNode), None)
            self.chosenImages.choose([])
        self.parameters.result = result
        if result and self.choice and self.choice.model and self.choice.model.location:
            show_boxes(result, self.choice.model.location.structure)
        self._update()
