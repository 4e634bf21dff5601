"""`mednext-train`: convert, check, plan, train, evaluate, export, compare; or all of it, `reproduce`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from mednext.errors import Cancelled, MedNeXtError, OutputError
from mednext.system.failed_import import missing_extra
from mednext.system.shown_text import shown
from mednext.system.terminal import ShownFormatter, forget_output, take_any_text

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
    take_any_text()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ShownFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    arguments = command_parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("mednext-train: interrupted. The same command goes on, or begins again.\n")
        return Cancelled.exit_code
    except MedNeXtError as error:
        return _failed(error)
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        return _failed(missing)
    except BrokenPipeError:
        forget_output()
        return _failed(
            OutputError("Nobody reads the output any more. Run the command again, and write it to a file.")
        )
    except OSError as error:
        logger.debug("a file cannot be read or written", exc_info=True)
        place = error.filename or "A file"
        return _failed(MedNeXtError(f"{place} cannot be read or written: {error.strerror or error}."))
    return 0


def _failed(error: MedNeXtError) -> int:
    sys.stderr.write(f"mednext-train: {shown(error)}\n")
    return error.exit_code
