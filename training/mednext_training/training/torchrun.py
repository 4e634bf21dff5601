"""The processes of a training: one, or several that `torchrun` has started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from mednext.errors import DeviceError, MedNeXtError, OptionError, OutputError, from_json, to_json


@contextmanager
def device_of_process() -> Iterator[torch.device]:
    """The device of this process, which `torchrun` may have started as one of several.

    Raises:
        DeviceError: there are fewer cards than processes.
        OptionError: the variables of `torchrun` do not fit together, or the processes do not find each other.
    """
    count, number = _of_torchrun("WORLD_SIZE", 1), _of_torchrun("LOCAL_RANK", 0)
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if cards and number >= cards:
        raise DeviceError(f"There are {cards} CUDA cards, too few for process {number}: start fewer.")
    device = torch.device("cuda", number) if cards else torch.device("cpu")
    if count == 1:
        yield device
        return
    needed = {each: os.environ.get(each) for each in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    if None in needed.values() or _of_torchrun("RANK", 0) >= count:  # torch would wait half an hour
        told = ", ".join(f"${each} is {value or 'not set'}" for each, value in needed.items())
        raise OptionError(
            f"$WORLD_SIZE is {count}, but {told}: start the processes with torchrun, or unset $WORLD_SIZE."
        )
    if cards:
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if cards else "gloo")
    except (ValueError, RuntimeError) as error:
        raise OptionError(
            f"The {count} processes of $WORLD_SIZE did not find each other ({error}): start them with "
            "torchrun, or unset it."
        ) from error
    try:
        yield device
    finally:
        dist.destroy_process_group()


def _of_torchrun(variable: str, usual: int) -> int:
    text = os.environ.get(variable, str(usual))
    if not text.isdecimal():
        raise OptionError(f"${variable} is {text!r}, no whole number: unset it, or start with torchrun.")
    return int(text)


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the process that writes; true for a process alone."""
    return not dist.is_initialized() or dist.get_rank() == 0


@contextmanager
def together() -> Iterator[None]:
    """Wait for the other processes at the end of the block; where it is refused in one, all raise the same.

    Raises `OptionError` where another process has ended.
    """
    refusal: MedNeXtError | None = None
    try:
        yield
    except (MedNeXtError, OSError) as error:
        if not dist.is_initialized():
            raise
        refusal = error if isinstance(error, MedNeXtError) else OutputError(f"{error}: check this file.")
    if dist.is_initialized():
        told: list[dict[str, str] | None] = [None] * dist.get_world_size()
        try:
            dist.all_gather_object(told, refusal and to_json(refusal))
        except RuntimeError as error:
            raise OptionError(
                "Another process of this training has ended: start all of them again, with torchrun."
            ) from error
        first = next(filter(None, told), None)
        if first is not None:
            raise from_json(first) from refusal


def is_over(deadline: float | None) -> bool:
    """Whether the first process is past its deadline."""
    if deadline is None:
        return False
    over = [time.monotonic() > deadline]
    if dist.is_initialized():
        dist.broadcast_object_list(over)
    return over[0]
