"""The buttons that write files of a result: Export, and Add to training set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import qt
import slicer
from mednext.errors import MissingPackageError, OptionError, OutputError
from mednext.worker.scene.jobs import SceneJob
from slicer.i18n import tr as _

from ... import settings
from ...engine.run import Run
from ...engine.scene_job import start_job
from ...scene.export.export_job import export_job
from ...scene.export.training_job import training_job
from ..messages import Messages

_HIGHDICOM = "highdicom>=0.27,<1"
_SUFFIX = ".seg.nrrd"  # Slicer's own, for a name without a known one


class ResultFiles:
    """Asks for a file or folder, copies the result from the scene, and starts a process that writes it."""

    def __init__(self, ui: Any, messages: Messages) -> None:
        self._ui = ui
        self._messages = messages
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._writing: Run | None = None
        ui.exportButton.connect("clicked()", messages.guard(self._export))
        ui.trainingButton.connect("clicked()", messages.guard(self._addToTrainingSet))

    @property
    def writing(self) -> bool:
        """Whether a file is being written."""
        return self._writing is not None and self._writing.running

    def abandon(self) -> None:
        """Let the file be written without further messages, when the panel is closed."""
        if self._writing:
            self._writing.unfollow()

    def show(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Offer the buttons for a result."""
        self._node = node

    def _export(self) -> None:
        chosen = self._askForFile()
        if chosen is None:
            return
        path, format = chosen
        settings.EXPORT_FOLDER.set(str(path.parent))
        if _ofSeries(format):
            _ensureHighdicom()
        self._write(export_job(self._node, path, format), _exported)

    def _askForFile(self) -> tuple[Path, str] | None:
        """The chosen file and its format, or None.

        The dialog adds the suffix of the chosen format, and asks before it replaces a file.
        """
        start = Path(settings.EXPORT_FOLDER.get()) / _fileName(self._node.GetName())
        dialog = qt.QFileDialog(self._ui.exportButton, _("Export segmentation"), str(start.parent))
        dialog.setAcceptMode(qt.QFileDialog.AcceptSave)
        filters = _nameFilters()
        dialog.setNameFilters(list(filters))
        dialog.connect(
            "filterSelected(QString)",
            lambda chosen: dialog.setDefaultSuffix(_usualSuffix(filters[chosen]).lstrip(".")),
        )
        dialog.setDefaultSuffix(_SUFFIX.lstrip("."))
        dialog.selectFile(start.name)
        if not dialog.exec_():
            return None
        path = _withSuffix(dialog.selectedFiles()[0])
        return path, _formatOf(path, filters[dialog.selectedNameFilter()])

    def _addToTrainingSet(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            self._ui.trainingButton, _("Folder of the training set"), settings.TRAINING_SET_FOLDER.get()
        )
        if not folder:
            return
        settings.TRAINING_SET_FOLDER.set(str(folder))
        self._write(training_job(self._node, Path(folder)), _added)

    def _write(self, job: SceneJob, told: Callable[[Any], str]) -> None:
        self._enable(False)
        self._messages.say(_("Writing..."))

        def done(outcome: Any) -> None:
            self._enable(True)
            self._messages.say(told(outcome))

        def failed(error: Exception) -> None:
            self._enable(True)
            self._messages.fail(error)

        self._writing = start_job(job).follow(onDone=done, onError=failed)

    def _enable(self, on: bool) -> None:
        self._ui.exportButton.enabled = self._ui.trainingButton.enabled = on


def _nameFilters() -> dict[str, str]:
    """The filters of the file dialog, with the name of the format of each."""
    from mednext.segmentation.export import FORMATS

    translated = {
        "seg.nrrd": _("Slicer segmentation"),
        "nrrd": _("NRRD labelmap"),
        "nifti": _("NIfTI labelmap"),
        "metaimage": _("MetaImage labelmap"),
        "dicom": _("DICOM segmentation"),
        "dicom-binary": _("DICOM segmentation, a bit for each voxel and segment"),
        "dicom-labelmap": _("DICOM segmentation, labelmap (Slicer 5.12 or later)"),
    }
    filters = {}
    for name, format in FORMATS.items():
        patterns = " ".join(f"*{suffix}" for suffix in format.suffixes)
        filters[f"{translated.get(name, format.title)} ({patterns})"] = name
    return filters


def _usualSuffix(format: str) -> str:
    from mednext.segmentation.export import FORMATS

    return FORMATS[format].suffixes[0]


def _formatOf(path: Path, chosen: str) -> str:
    """The chosen format, or that of a suffix that the user typed in spite of it."""
    from mednext.segmentation.export import format_of

    with suppress(OptionError):
        return format_of(path, chosen)
    return format_of(path)


def _fileName(name: str) -> str:
    """A file name for a node, without characters that some file systems refuse."""
    kept = "".join("_" if each in '<>:"/\\|?*' or ord(each) < 32 else each for each in name)
    return kept.strip(" .") + _SUFFIX


def _withSuffix(name: str) -> Path:
    """The chosen path, with Slicer's suffix if it has no known one.

    Raises `OutputError` when the file with that suffix exists, since the dialog has not asked about it.
    """
    from mednext.segmentation.export import format_of

    path = Path(name)
    with suppress(OptionError):
        format_of(path)
        return path
    path = path.with_name(path.name + _SUFFIX)
    if path.exists():
        raise OutputError(f"{path.name} already exists: choose it in the dialog to replace it.")
    return path


def _ofSeries(format: str) -> bool:
    """Whether a file of this format refers to the DICOM series of the image."""
    from mednext.segmentation.export import FORMATS

    return FORMATS[format].of_series


def _ensureHighdicom() -> None:
    """Install the one package that writes DICOM segmentations, after a question."""
    import slicer.packaging

    try:
        slicer.packaging.pip_ensure(_HIGHDICOM, requester="MedNeXtSegmentation")
    except RuntimeError as error:
        raise MissingPackageError(
            "Writing a DICOM segmentation needs the package highdicom: install it when asked, or choose "
            "another format."
        ) from error


def _exported(done: Mapping[str, Any]) -> str:
    files = [Path(file) for file in done["files"]]
    names = ", ".join(file.name for file in files)
    return _("Written: {names} in {folder}").format(names=names, folder=str(files[0].parent))


def _added(done: Mapping[str, Any]) -> str:
    case = done["case"]
    text = _("Added as {case} in {folder}").format(case=case["name"], folder=case["folder"])
    if case["left_out"] is not None:
        text = _("{text}, cropped to the region of the run").format(text=text)
    if case["left_out"]:
        text = _("{text}: {count} voxels of the structures lie beyond it and were left out").format(
            text=text, count=case["left_out"]
        )
    if not case["resampled"]:
        return text
    return _("{text}. On the grid of the first image now: {names}").format(
        text=text, names=", ".join(case["resampled"])
    )
