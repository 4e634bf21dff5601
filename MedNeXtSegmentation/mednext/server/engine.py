"""The engine of one replica: segments in a thread, keeps the networks of several models on its device."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..errors import DeviceLostError, EngineProcessError, MedNeXtError, OutOfMemoryError, to_json
from ..images.volume import Volume
from ..inference.loaded_networks import LoadedNetworks
from ..inference.progress import Progress
from ..library.model_by_name import load_bundle
from ..model.bundle import Bundle
from ..remote import wire
from ..segmentation.result import Segmentation
from ..segmentation.uncertainty_storage import to_fixed_point
from ..system.cancellation import check_cancelled
from ..system.child_processes import guard_this_process
from ..system.memory_settings import give_memory_back
from .faults import where

logger = logging.getLogger(__name__)

Event = dict[str, Any]

_BETWEEN_EVENTS_S = 0.2


class Engine:
    """Carries out one run after the other.

    device, threads: see `Options`.
    warm: folders of models whose networks are loaded now.
    kept: networks of so many models stay loaded; those of the one used longest ago go first.
    """

    def __init__(
        self, device: str = "auto", threads: int | None = None, warm: Sequence[str] = (), kept: int = 2
    ) -> None:
        guard_this_process()
        self._device, self._threads = device, threads
        self._kept = max(kept, len(warm), 1)
        self._networks: OrderedDict[str, LoadedNetworks] = OrderedDict()
        self._bundles: dict[str, Bundle] = {}
        self._worker = ThreadPoolExecutor(1, "mednext-engine")
        self._lost: DeviceLostError | None = None
        for folder in warm:
            bundle = self._bundle(folder)
            folds = tuple(fold.index for fold in bundle.model.folds)
            self._networks_of(folder).load(bundle, folds, "float32", lambda _progress: None)

    def check_health(self) -> None:
        """Raise `DeviceLostError` once the device has failed: Ray Serve then starts a new process."""
        if self._lost:
            raise self._lost

    async def events(
        self, folder: str, application: dict[str, Any], images: Sequence[np.ndarray]
    ) -> AsyncIterator[Event]:
        """Segment: yield progress, and at last a result or an error. Closing the iterator cancels the run.

        The events are `{"progress": ...}`, `{"error": ...}` or `{"provenance": ..., "labels": array}`,
        perhaps with "uncertainty".
        """
        loop, events, stop = asyncio.get_running_loop(), asyncio.Queue[Event](), threading.Event()

        def tell(event: Event) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(events.put_nowait, event)

        self._worker.submit(self._work, folder, application, list(images), tell, stop.is_set)
        del images
        try:
            while True:
                event = await events.get()
                yield event
                if "progress" not in event:
                    return
        finally:
            stop.set()

    def _work(
        self,
        folder: str,
        application: dict[str, Any],
        images: list[np.ndarray],
        tell: Callable[[Event], None],
        cancelled: Callable[[], bool],
    ) -> None:
        try:
            tell(self._result(folder, wire.Application.read(application), images, tell, cancelled))
        except MedNeXtError as error:
            if isinstance(error, DeviceLostError):
                self._lost = error
            tell({"error": to_json(error)})
        except MemoryError:
            tell({"error": to_json(OutOfMemoryError("The server has not enough memory for this image."))})
        except Exception as error:  # noqa: BLE001  # boundary: the client must get an answer to every request
            logger.error("A run failed by a fault of this program.\n%s", where(error))
            fault = EngineProcessError(
                f"The run failed by a fault of the server ({type(error).__name__}): tell its administrator."
            )
            tell({"error": to_json(fault)})
        finally:
            images.clear()
            give_memory_back()

    def _result(
        self,
        folder: str,
        application: wire.Application,
        images: list[np.ndarray],
        tell: Callable[[Event], None],
        cancelled: Callable[[], bool],
    ) -> Event:
        volumes = [
            Volume(array, outline.geometry, (wire.alias(number),) * outline.channels)
            for number, (array, outline) in enumerate(zip(images, application.images, strict=True))
        ]
        told_at = 0.0

        def report(progress: Progress) -> None:
            nonlocal told_at
            check_cancelled(cancelled)
            ends = progress.remark or progress.done in (0, progress.total)
            if ends or time.monotonic() - told_at > _BETWEEN_EVENTS_S:
                told_at = time.monotonic()
                tell({"progress": asdict(progress)})

        options = replace(application.options, device=self._device, threads=self._threads)
        segmentation = self._segmented(folder, volumes, options, report, cancelled)
        event: Event = {"provenance": dict(segmentation.provenance), "labels": segmentation.labelmap}
        if segmentation.uncertainty is not None:
            event["uncertainty"] = to_fixed_point(segmentation.uncertainty)
        return event

    def _segmented(
        self,
        folder: str,
        volumes: list[Volume],
        options: Any,
        report: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> Segmentation:
        from ..locating.segment import segment

        def run() -> Segmentation:
            return segment(
                volumes,
                self._bundle(folder),
                options,
                progress=report,
                cancelled=cancelled,
                networks=self._networks_of(folder),
            )

        try:
            return run()
        except OutOfMemoryError:
            if len(self._networks) < 2:
                raise
            for other in list(self._networks):  # other models' networks are in the way
                if other != folder:
                    del self._networks[other]
            give_memory_back()
            return run()

    def _bundle(self, folder: str) -> Bundle:
        if folder not in self._bundles:
            self._bundles[folder] = load_bundle(folder)
        return self._bundles[folder]

    def _networks_of(self, folder: str) -> LoadedNetworks:
        networks = self._networks.setdefault(folder, LoadedNetworks())
        self._networks.move_to_end(folder)
        while len(self._networks) > self._kept:
            self._networks.popitem(last=False)
        return networks
