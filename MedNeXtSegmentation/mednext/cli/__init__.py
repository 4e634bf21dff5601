"""The command `mednext`: segment images, manage models, describe this computer.

Exit codes: 0 done; 2 an error that the message explains, nothing was written; 3 some cases of a folder
failed, the others are done; 130 cancelled with Ctrl-C; 1 a fault in this program, with the traceback in the
log. `--json` prints exactly one JSON document on stdout, also for an error. Commands import large packages
only when they need them, so that `--help` is quick.
"""

from __future__ import annotations

import _thread
import argparse
import logging
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from .. import __version__
from ..errors import Cancelled, MedNeXtError, OptionError
from ..system.terminal import forget_output
from . import info, models, scene_job, segment, segment_folder, serve, view
from .console import Console

logger = logging.getLogger(__name__)


class _Parser(argparse.ArgumentParser):
    """Reports wrong arguments as an error of ours, so that `--json` applies to them too."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message}. See '{self.prog} --help'.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    is_program = arguments is None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(
        json="--json" in arguments, quiet="--quiet" in arguments, events="--events" in arguments
    )
    try:
        if "--events" in arguments:
            threading.Thread(target=_cancel_when_alone, daemon=True).start()
        if is_program:
            from ..system.child_processes import guard_this_process
            from ..system.memory_settings import end_without_search

            guard_this_process()
            end_without_search()
        _check(arguments)
        options = _parser().parse_args(_with_joined_roi(arguments))
        if is_program and options.runs_networks:
            from ..system.memory_settings import restart_tuned

            restart_tuned("mednext", arguments)
        options.run(options, console)
    except KeyboardInterrupt:
        return console.failed(Cancelled("Cancelled."))
    except MedNeXtError as error:
        logger.debug("The command failed.", exc_info=True)
        return console.failed(error)
    except BrokenPipeError:  # the reader of our output has closed it
        forget_output()
        return 0
    except OSError as error:
        if error.filename is None:
            logger.exception("Unexpected error")
            return console.crashed(error)
        logger.debug("The system refused a path.", exc_info=True)
        return console.failed(OptionError(f"{error.filename}: {error.strerror}. Check the path."))
    except Exception as error:  # boundary: a defect of ours gets its own exit code and a log
        from ..system.failed_import import explained, is_missing_engine, lacks_memory, missing_extra

        if lacks_memory(error) or is_missing_engine(error):
            logger.debug("The engine cannot be loaded.", exc_info=True)
            return console.failed(explained(error))
        if missing := missing_extra(error):
            logger.debug("A package is missing.", exc_info=True)
            return console.failed(missing)
        logger.exception("Unexpected error")
        return console.crashed(error)
    return 0


def _cancel_when_alone() -> None:
    """Act as on Ctrl-C once the other end of stdin is closed: the caller has cancelled, ended or crashed."""
    with suppress(OSError, ValueError):  # an unreadable stdin counts as closed
        while sys.stdin and os.read(sys.stdin.fileno(), 1):  # at exit Python would wait for stdin.read
            pass
    _thread.interrupt_main()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mednext", description="MedNeXt segmentation of CT and MR images.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"mednext {__version__}")
    parser.set_defaults(runs_networks=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (segment, segment_folder, view, models, serve, info, scene_job):
        command.add_parser(commands)
    return parser


def _check(arguments: Sequence[str]) -> None:
    """Refuse arguments that would crash argparse or the system's functions."""
    for argument in arguments:
        if "\0" in argument:
            raise OptionError(f"The argument {argument!r} has a character that no path can have.")
        if argument.startswith("-") and argument != "--" and argument.endswith("--"):
            raise OptionError(f"The option {argument} has no value.")


def _with_joined_roi(arguments: list[str]) -> list[str]:
    """`--roi -10,…` as `--roi=-10,…`: argparse would take the first coordinate's minus for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--roi":
            joined[-1] = f"--roi={argument}"
        else:
            joined.append(argument)
    return joined
