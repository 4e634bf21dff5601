"""Loader processes that end with the process that trains, however that ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from multiprocessing import parent_process
from typing import Any

from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from mednext.system.running_processes import is_running
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

_LOOK_EVERY_S = 1.0


class TiedLoader(nnUNetDataLoader):
    """nnU-Net's loader, which in a process of its own watches the process that started it."""

    def set_thread_id(self, thread_id: int) -> None:
        """Called once at the start of each loader process."""
        super().set_thread_id(thread_id)
        parent = parent_process()
        if parent is not None and parent.pid is not None:
            # Ctrl+C in a shell goes to all processes: the one that trains tells these when to stop.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            threading.Thread(target=_end_with, args=(parent.pid,), daemon=True).start()


def _end_with(pid: int) -> None:
    while os.getppid() == pid and is_running(pid):
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)


def start_loader(loader: TiedLoader, processes: int, cached: int, pin_memory: bool) -> Any:
    """Batches of a loader, made by processes in advance; 0 processes make them when they are asked for."""
    if not processes:
        return SingleThreadedAugmenter(loader, None)
    batches = NonDetMultiThreadedAugmenter(
        data_loader=loader,
        transform=None,
        num_processes=processes,
        num_cached=cached,
        seeds=None,
        pin_memory=pin_memory,
        wait_time=0.002,
    )
    next(batches)  # starts them
    return batches


def loader_processes() -> int:
    """Processes that make batches for training: nnU-Net's number, or that of $nnUNet_n_proc_DA."""
    return int(get_allowed_n_proc_DA())


def stop_loader(batches: Any) -> None:
    """End the processes behind batches at once, unless nnU-Net has ended them."""
    if isinstance(batches, NonDetMultiThreadedAugmenter) and batches._processes:
        batches.abort_event.set()
        for process in batches._processes:
            process.kill()
            process.join()
