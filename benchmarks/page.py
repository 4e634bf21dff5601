"""`docs/performance.md`: each measured block of it stands between two marks, and is written by its benchmark.

    <!-- forward -->
    ...
    <!-- end of forward -->

What is between the blocks is written by people.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"


def write_block(name: str, text: str, page: Path = PAGE) -> None:
    """Replace one block. Raises ValueError when the page has no such block."""
    before = page.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    after, count = pattern.subn(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", before)
    if not count:
        raise ValueError(f"{page} has no block {name!r}: add <!-- {name} --> and <!-- end of {name} -->")
    page.write_text(after, encoding="utf-8")
