"""The pictures of the documentation show the program of today, and the scripts that draw them run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"


def test_the_pages_of_the_models_are_those_of_the_catalog_and_the_measurements_of_today() -> None:
    """Otherwise run docs/make_model_pages.py."""
    spec = importlib.util.spec_from_file_location("make_model_pages", DOCS / "make_model_pages.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = {file.stem: file.read_text(encoding="utf-8") for file in script.PAGES.glob("*.md")}
    assert written == script.pages()


def test_the_picture_of_the_rooms_has_the_imports_of_today() -> None:
    """Otherwise run docs/draw_house.py."""
    spec = importlib.util.spec_from_file_location("draw_house", DOCS / "draw_house.py")
    assert spec and spec.loader
    house = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(house)
    rooms = house.rooms_in_order()
    assert house.PICTURE.read_text(encoding="utf-8") == house.draw(rooms, house.imports_between(rooms))


def test_the_pictures_of_the_tutorial_are_drawn(tmp_path: Path) -> None:
    """Two that need no run of a network; `make pictures` draws all."""
    command = [
        sys.executable,
        str(DOCS / "make_pictures.py"),
        "thumbnail",
        "ready",
        "--output",
        str(tmp_path),
    ]
    subprocess.run(command, check=True)
    drawn = {file.name: np.array(Image.open(file).convert("RGB")) for file in tmp_path.iterdir()}
    assert set(drawn) == {"ICBM152Hippocampus.png", "tutorial-ready.png"}
    for picture in drawn.values():
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
