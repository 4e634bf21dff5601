"""`mednext-train`: convert, check, plan, train, evaluate, export, compare; or all of it, `reproduce`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from mednext.errors import Cancelled, MedNeXtError
from mednext.system.failed_import import missing_extra

from ..workspace import Workspace
from . import data, experiments, models, reproduce, training

logger = logging.getLogger(__name__)


def command_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mednext-train", description=__doc__)
    parser.add_argument(
        "--workspace",
        type=lambda text: Workspace(Path(text).resolve()),
        default=Workspace(Path("training_runs").resolve()),
        help="folder for raw data, preprocessed data and results (default: training_runs)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (data, training, models, experiments):
        group.add_commands(commands)
    reproduce.add_commands(commands, parser.parse_args)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, or the error's own."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    arguments = command_parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("mednext-train: interrupted. The same command goes on, or begins again.\n")
        return Cancelled.exit_code
    except MedNeXtError as error:
        sys.stderr.write(f"mednext-train: {error}\n")
        return error.exit_code
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        sys.stderr.write(f"mednext-train: {missing}\n")
        return missing.exit_code
    except OSError as error:
        logger.debug("a file cannot be read or written", exc_info=True)
        sys.stderr.write(
            f"mednext-train: {error.filename or 'A file'} cannot be read or written: "
            f"{error.strerror or error}.\n"
        )
        return MedNeXtError.exit_code
    return 0
