"""`mednext view`: show a result in the browser of this computer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import OptionError
from .console import Console
from .run_options import add_output_options


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "view",
        help="show a result in a browser",
        description="Show slices, 3D and segments of a result in a browser of this computer.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("result", metavar="RESULT", type=Path, help=".seg.nrrd, DICOM SEG, or an image of label values")
    add("--image", metavar="IMAGE", type=Path, help="the segmented image, to be shown below it")
    add("--port", type=int, default=0, help="of the address on this computer (default: a free one)")
    add("--no-browser", action="store_true", help="print the address only")
    add("--library", metavar="FILE", type=Path, help="niivue's archive, for a computer without a network")
    add_output_options(add)


def run(options: argparse.Namespace, console: Console) -> None:
    """Read the result, open the browser, and serve until Ctrl+C."""
    import webbrowser

    from ..viewing.page_server import PageServer, opening_page
    from ..viewing.viewer import viewer_files

    files = viewer_files(options.result, options.image, options.library)
    try:
        server = PageServer(files, options.port)
    except (OSError, OverflowError) as error:
        raise OptionError(f"The port {options.port} cannot be used ({error}): choose another one.") from error
    with server, opening_page(server.address) as page:
        console.done({"address": server.address}, f"{server.address}  (Ctrl+C ends it)")
        if not options.no_browser:
            webbrowser.open(page.as_uri())
        server.serve_forever()
