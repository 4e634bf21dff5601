"""Draw docs/pictures/house.svg: the rooms of the engine in order, with an arrow to each that one imports.

make pictures              with all other pictures
python docs/draw_house.py  this one

The order is that of the contract in pyproject.toml that `make lint` checks.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / "house.svg"
STEP_X, STEP_Y = 104, 50
WIDTH, HEIGHT = 98, 34
MARGIN = 16


def rooms_in_order() -> list[str]:
    """The folders of the engine, each of which imports only those before it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    folder = ROOT / "MedNeXtSegmentation" / "mednext"
    return [room for room in reversed(layers) if (folder / room).is_dir()]


def imports_between(rooms: list[str]) -> set[tuple[str, str]]:
    """The pairs of rooms of which the first imports the second."""
    graph = grimp.build_graph("mednext", cache_dir=None)
    room_of = {name: name.split(".")[1] for name in graph.modules if name.count(".")}
    pairs = {
        (room, room_of.get(imported, ""))
        for name, room in room_of.items()
        for imported in graph.find_modules_directly_imported_by(name)
    }
    return {(one, other) for one, other in pairs if one != other and {one, other} <= set(rooms)}


def draw(rooms: list[str], between: set[tuple[str, str]]) -> str:
    """The picture: boxes on a diagonal, and an arrow from each room to each that it imports."""
    width = 2 * MARGIN + STEP_X * (len(rooms) - 1) + WIDTH
    height = 2 * MARGIN + STEP_Y * (len(rooms) - 1) + HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="13" text-anchor="middle">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#8a97a8"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    places = {room: (MARGIN + STEP_X * n, MARGIN + STEP_Y * n) for n, room in enumerate(rooms)}
    for importer, imported in sorted(between):
        (x, y), (to_x, to_y) = places[importer], places[imported]
        across, down = to_x + WIDTH // 2, y + HEIGHT // 2
        start, end = (x, to_y + HEIGHT) if to_y < y else (x + WIDTH, to_y)
        parts.append(
            f'<path d="M{start} {down}H{across}V{end}" fill="none" stroke="#c3ccd8" marker-end="url(#tip)"/>'
        )
        parts.append(f'<circle cx="{across}" cy="{down}" r="3" fill="#8a97a8"/>')
    for room, (x, y) in places.items():
        parts.append(
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="#dbeafe" stroke="#36a"/>'
        )
        parts.append(
            f'<text x="{x + WIDTH // 2}" y="{y + 22}" font-weight="bold" fill="#12304f">{room}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    rooms = rooms_in_order()
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(rooms, imports_between(rooms)), encoding="utf-8")


if __name__ == "__main__":
    main()
