"""Where the structure of a model lies in the body, for models that were trained on crops around it.

A template is registered with an image; the places known in the template then give boxes in the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..system.json_reading import Fields

TEMPLATES = ("icbm152",)
SIDES = ("left", "right")

_FARTHEST_MM = 300.0
_LARGEST_ML = 1e4


@dataclass(frozen=True)
class Place:
    """The box of one side in the template.

    Attributes:
        side: "left" or "right", the patient's.
        centre: of the box, mm RAS in the template's space.
        size: of the box, mm along R, A, S; the network gets an image of this size.
    """

    side: str
    centre: tuple[float, float, float]
    size: tuple[float, float, float]

    @classmethod
    def read(cls, fields: Fields) -> Place:
        """A place as `model.json` writes it."""
        x, y, z = fields.numbers("centre", -_FARTHEST_MM, _FARTHEST_MM, 3)
        width, length, height = fields.numbers("size", 1, _FARTHEST_MM, 3)
        place = cls(fields.text("side", choices=SIDES), (x, y, z), (width, length, height))
        fields.finish()
        return place


@dataclass(frozen=True)
class Location:
    """The places of a paired structure.

    Attributes:
        template: name of the template, a file in `Resources/Templates`.
        structure: its name for people, such as "hippocampus".
        places: that of the left and that of the right side.
        volume_ml: the smallest and the largest plausible volume of one side, all labels together.
    """

    template: str
    structure: str
    places: tuple[Place, ...]
    volume_ml: tuple[float, float]

    @classmethod
    def read(cls, fields: Fields) -> Location:
        """A location as `model.json` writes it."""
        smallest, largest = fields.numbers("volume_ml", 0, _LARGEST_ML, 2)
        if smallest >= largest:
            raise fields.refuse("volume_ml", [smallest, largest], "a smaller and a larger number")
        places = fields.objects("places", Place.read, minimum=2)
        if sorted(place.side for place in places) != sorted(SIDES):
            raise fields.refuse("places", [place.side for place in places], "one left and one right place")
        location = cls(
            fields.text("template", choices=TEMPLATES), fields.text("structure"), places, (smallest, largest)
        )
        fields.finish()
        return location

    def to_json(self) -> Mapping[str, Any]:
        """The form that `read` takes."""
        return asdict(self)
