"""What one forward pass takes beyond network and image: `python -m benchmarks.forward_memory NAME S3 128`.

Prints MiB. A process of its own, since a process's peak never falls.
"""

from __future__ import annotations

import sys

import torch

from .candidates import COMPILED, Size, forwards
from .children import forget_peak, peak_mib, present_mib


@torch.inference_mode()
def main(name: str, size: str, side: int) -> None:
    """Measure and print."""
    run = forwards(Size.parse(size), compiled=True)[name]()
    if name != COMPILED:  # which compiles for each shape anew
        run(torch.zeros(1, 1, 32, 32, 32))  # libraries are loaded, weights converted
    image = torch.randn(1, 1, side, side, side)
    forget_peak()  # converting the weights may have taken more than the pass will
    before = present_mib()
    run(image)
    sys.stdout.write(f"{peak_mib() - before}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
