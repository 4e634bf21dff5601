"""How long something will take, as people say it."""

from __future__ import annotations

from slicer.i18n import tr as _


def leftText(text: str, remaining_s: float) -> str:
    """What is being done, and how long it will take."""
    if remaining_s < 90:
        return _("{text}, about {seconds:.0f} s left").format(text=text, seconds=remaining_s)
    return _("{text}, about {minutes:.0f} min left").format(text=text, minutes=remaining_s / 60)
