"""The run that segments the frames of a sequence, one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import slicer
from mednext.errors import Cancelled, MedNeXtError, OptionError
from mednext.model.description import Model
from mednext.worker.hand_over import HandedOver
from mednext.worker.protocol import Order

from ..engine.run import BUSY, Run, Steps
from ..engine.worker_client import WorkerClient
from ..run_options import RunOptions
from ..scene.results.result_place import PreparedResult, ResultPlace
from .frames import Frames
from .sequence_place import SequencePlace


def startSequence(
    client: WorkerClient, nodes: Sequence[slicer.vtkMRMLNode], model: str | Model, options: RunOptions
) -> Run[slicer.vtkMRMLSequenceNode]:
    """Begin to segment all frames; the run adds the sequence of the results to the scene.

    Its events also have "frame" and "frames"; "done", "total" and "remaining_s" refer to all frames.

    Raises the errors of the nodes and of the first frame.
    """
    if options.segmentationNode is not None:
        raise OptionError(
            "The results of a sequence are a new sequence of segmentations, and an existing segmentation "
            "stays as it is: choose no segmentation, or segment a single frame."
        )
    frames = Frames(nodes)
    order = options.forEngine(model, frames.shown)
    _placeOf(frames, 0, options)
    frames.channels(0)
    return Run(lambda run: _steps(run, client, frames, order, options))


def _placeOf(frames: Frames, index: int, options: RunOptions) -> ResultPlace:
    return ResultPlace(frames.volumes(index), None, options.labels, in_percent=True)


def _steps(
    run: Run[Any], client: WorkerClient, frames: Frames, order: Order, options: RunOptions
) -> Steps[slicer.vtkMRMLSequenceNode]:
    place, begun = SequencePlace(frames), time.monotonic()
    segmented: list[ResultPlace] = []
    for index in range(len(frames.values)):
        try:
            frame = _placeOf(frames, index, options)
            channels = frames.channels(index)
            with run.telling(lambda event, index=index: _ofAll(event, index, len(frames.values), begun)):
                prepared = yield from client.segmenting(run, channels, order, frame.wishes, taking(frame))
            frame.check_unchanged()
            place.take(index, prepared)
        except Cancelled:
            raise
        except MedNeXtError as error:
            raise _ofFrame(frames, index, error) from error
        segmented.append(frame)
        run.check_cancelled()
    for index, frame in enumerate(segmented):  # also those that changed after their own turn
        try:
            frame.check_unchanged()
        except MedNeXtError as error:
            raise _ofFrame(frames, index, error) from error
    frames.checkPlace()
    return place.add()


def _ofFrame(frames: Frames, index: int, error: MedNeXtError) -> MedNeXtError:
    return type(error)(f"{frames.title(index)}: {error}")


def taking(place: ResultPlace) -> Any:
    """The function by which a client copies a result into VTK's memory, for a place."""

    def take(run: Run[Any], result: HandedOver) -> Steps[PreparedResult]:
        copying = place.copying(result)
        while True:
            run.check_cancelled()
            try:
                next(copying)
            except StopIteration as end:
                return end.value
            yield BUSY

    return take


def _ofAll(event: dict[str, Any], frame: int, count: int, begun: float) -> dict[str, Any]:
    frames = {"frame": frame + 1, "frames": count}
    if event["stage"] != "network":
        return {**event, **frames, "remaining_s": None}
    total = event["total"] * count
    done = event["total"] * frame + event["done"]
    elapsed = time.monotonic() - begun
    remaining = elapsed / done * (total - done) if done else None
    return {**event, **frames, "done": done, "total": total, "remaining_s": remaining}
