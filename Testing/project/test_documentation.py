"""What the documentation points to is there, and the tutorial's buttons are those of the panel."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "MedNeXtSegmentation"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TUTORIAL = ROOT / "docs" / "tutorial.md"
MOST_KIB = 150


def links(page: Path) -> list[str]:
    """The relative addresses of a page, without anchors."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    return [target.split("#")[0] for target in targets if "://" not in target and not target.startswith("#")]


def texts_of_the_panel() -> set[str]:
    """Every text of the .ui files, and every text that Python translates."""
    texts = {
        string.text or ""
        for file in (MODULE / "Resources" / "UI").glob("*.ui")
        for string in ElementTree.parse(file).iter("string")
    }
    for file in (MODULE / "MedNeXtSegmentationLib").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_":
                texts |= {str(text.value) for text in node.args if isinstance(text, ast.Constant)}
    # A single "&" marks an accelerator key.
    return {text.replace("&", "").rstrip(":.").strip() for text in texts}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    assert [target for target in links(page) if not (page.parent / target).exists()] == []


def test_the_readme_has_what_the_extensions_index_asks_for():
    headings = re.findall(r"^##? (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0].startswith("MedNeXt segmentation")
    for wanted in ("The module", "Installation", "Tutorial", "Privacy", "Licence", "Citation", "removed"):
        assert any(wanted in heading for heading in headings), wanted


def test_the_pictures_are_small_and_all_are_shown():
    pictures = sorted((ROOT / "Resources" / "Screenshots").iterdir())
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    assert [picture.name for picture in pictures if picture.resolve() not in shown] == []
    assert [picture.name for picture in pictures if picture.stat().st_size > MOST_KIB * 1024] == []
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_the_tutorial_names_the_panels_own_words():
    """Bold is ours, italics are Slicer's."""
    text = " ".join(TUTORIAL.read_text(encoding="utf-8").split())
    named = {name.rstrip(":.") for name in re.findall(r"\*\*([^*]+)\*\*", text)}
    assert named - texts_of_the_panel() == set()
