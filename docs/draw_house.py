"""Draw docs/pictures/house.svg: the rooms of the engine in order, with the number of imports between them.

make pictures              with all other pictures
python docs/draw_house.py  this one

The order is that of the contract in pyproject.toml that `make lint` checks.
"""

from __future__ import annotations

import tomllib
from collections import Counter
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


def imports_between(rooms: list[str]) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """How many files each room has, and how many imports lead from the first room of a pair to the second."""
    graph = grimp.build_graph("mednext", cache_dir=None)
    room_of = {name: name.split(".")[1] for name in graph.modules if name.count(".")}
    files = Counter(room for room in room_of.values() if room in rooms)
    between: Counter[tuple[str, str]] = Counter()
    for name, room in room_of.items():
        for imported in graph.find_modules_directly_imported_by(name):
            pair = room, room_of.get(imported, "")
            if pair[0] != pair[1] and set(pair) <= set(rooms):
                between[pair] += 1
    return files, between


def draw(rooms: list[str], files: Counter[str], between: Counter[tuple[str, str]]) -> str:
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
    for (importer, imported), count in sorted(between.items()):
        across = places[imported][0] + WIDTH // 2
        down = places[importer][1] + HEIGHT // 2
        parts.append(f'<circle cx="{across}" cy="{down}" r="11" fill="#eef2f7" stroke="#c3ccd8"/>')
        parts.append(f'<text x="{across}" y="{down + 4}" font-size="11" fill="#334155">{count}</text>')
    for room, (x, y) in places.items():
        parts.append(
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="#dbeafe" stroke="#36a"/>'
        )
        middle = x + WIDTH // 2
        parts.append(
            f'<text x="{middle}" y="{y + 15}" font-size="12" font-weight="bold" fill="#12304f">{room}</text>'
        )
        parts.append(
            f'<text x="{middle}" y="{y + 28}" font-size="10" fill="#334155">{files[room]} files</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    rooms = rooms_in_order()
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(rooms, *imports_between(rooms)), encoding="utf-8")


if __name__ == "__main__":
    main()
