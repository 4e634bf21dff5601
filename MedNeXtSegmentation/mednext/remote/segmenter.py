"""Segment with one model, here or on a server: the same call for both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..images.volume import Volume
from ..inference.loaded_networks import LoadedNetworks
from ..inference.memory.check import check_memory
from ..inference.memory.plan import device_kind
from ..inference.options import Options
from ..inference.progress import Progress
from ..library.model_by_name import load_bundle
from ..locating.memory import plan_of
from ..model.bundle import Bundle
from ..model.description import Model
from ..segmentation.result import Segmentation
from ..system.devices import DEVICES
from ..system.failed_import import explained
from .address import Server
from .segment import segment as segment_there
from .served_models import served_model


@dataclass(eq=False)
class Segmenter:
    """Segments one case after the other; networks here stay loaded between them.

    Attributes:
        model: its description.
        bundle: the model here; None for a run on the server.
    """

    model: Model
    bundle: Bundle | None
    server: Server | None
    networks: LoadedNetworks

    def check(self, options: Options) -> None:
        """Refuse folds that the model lacks, before images are read. Raises `OptionError`."""
        for fold in options.folds_of(self.model):
            self.model.fold(fold)

    def check_memory(self, volumes: Sequence[Volume], options: Options) -> None:
        """Refuse a run for which no device here has the memory, before torch takes its own.

        Raises `OutOfMemoryError`, and `GeometryError` for a region outside of the image.
        """
        if self.server is not None:
            return
        grid, name = volumes[0].geometry, volumes[0].name(0)
        voxels = [volume.array.dtype for volume in volumes for _ in volume.array]
        kinds = [device_kind(name) for name in DEVICES if options.device in ("auto", name)]
        kinds = kinds or [device_kind(options.device)]
        plans = [plan_of(self.model, options, grid, voxels, kind) for kind in kinds]
        check_memory(self.model, grid, min(plan.host for plan in plans), name)

    def segment(
        self,
        volumes: Volume | Iterable[Volume],
        options: Options,
        progress: Callable[[Progress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Segmentation:
        """See `locating.segment.segment` and `remote.segment.segment`."""
        if self.server is not None:
            return segment_there(
                volumes, self.model, self.server, options, progress=progress, cancelled=cancelled
            )
        try:
            from ..locating.segment import segment  # torch takes seconds, and a server's client has none
        except Exception as error:  # boundary: a broken torch raises anything
            raise explained(error) from error
        assert self.bundle
        return segment(
            volumes,
            self.bundle,
            options,
            progress=progress,
            cancelled=cancelled,
            networks=self.networks,
        )


def segmenter(
    model: str | Path,
    server: Server | None = None,
    networks: LoadedNetworks | None = None,
    description: Model | None = None,
) -> Segmenter:
    """The segmenter of a model by its name or folder; on a server a name is that of the server's model.

    description: that of the server's model, which is not asked for again then.

    Raises the errors of `load_bundle`, or those of `served_model`.
    """
    kept = LoadedNetworks() if networks is None else networks
    if server is not None:
        return Segmenter(description or served_model(server, str(model)), None, server, kept)
    bundle = load_bundle(model)
    return Segmenter(bundle.model, bundle, None, kept)
