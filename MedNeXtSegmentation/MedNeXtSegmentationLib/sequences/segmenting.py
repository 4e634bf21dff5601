"""From a sequence of volumes to the run that segments its frames, and the place of the results."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
from mednext.errors import OptionError

from ..engine.run import Run
from ..engine.worker_client import WorkerClient
from ..run_options import RunOptions
from ..scene.result_place import ResultPlace
from .frames import Frames
from .sequence_place import SequencePlace
from .sequence_run import SequenceRun, Take


def startSequence(
    client: WorkerClient, nodes: Sequence[slicer.vtkMRMLNode], model: str, options: RunOptions
) -> tuple[SequenceRun, SequencePlace]:
    """Begin to segment all frames. Raises what is wrong with the nodes or the first frame."""
    if options.segmentationNode is not None:
        raise OptionError(
            "The results of a sequence are a new sequence of segmentations, and one that is there stays as "
            "it is: choose no segmentation, or segment a single frame."
        )
    frames = Frames(nodes)
    engineOptions = options.forEngine(model, frames.shown)
    place = SequencePlace(frames)

    def start(index: int) -> tuple[Run, Take]:
        frame = ResultPlace(frames.volumes(index), None, options.labels, in_percent=True)
        run = client.start(frames.channels(index), engineOptions, frame.prepare)
        return run, lambda _segmentation: place.take(index, frame)

    return SequenceRun(len(frames.values), start, frames.title), place
