"""Texts of strangers in the panel: seen as they are, wherever they are, and never rendered or obeyed.

Qt takes any label, tool tip or question for HTML that looks like it, and then loads the files that it names.
"""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
import slicer
from fixtures.downloads.http_server import Server, serve
from fixtures.models.bundles import TINY_MODEL, tiny_bundle
from fixtures.panel.driving import MODULE, choose, segment, selector, set_option
from fixtures.scene.volume_nodes import add_volume, head
from mednext.library.folder_locations import shipped_models_folder
from mednext.system.shown_text import shown_lines

EVIL = '<img src="file:///etc/passwd"><b>\u202egnp.\x1b[31m\u200b\nmednext: done'
SEEN = r"\u202egnp.\x1b[31m\u200b"


def hostile(name: str, value: object) -> object:
    """A value of JSON whose texts for people are followed by `EVIL`."""
    if isinstance(value, dict):
        return {key: hostile(key, one) for key, one in value.items()}
    if isinstance(value, list):
        return [hostile(name, one) for one in value]
    fixed = {"url", "access", "modality", "orientation", "task", "value", "scheme", "code", "color"}
    fixed |= {"skull", "see", "picture", "page", "archive", "folder", "path", "checkpoint"}
    return f"{value}{EVIL}" if isinstance(value, str) and name not in fixed else value


def hostile_catalog() -> dict[str, object]:
    catalog = json.loads((shipped_models_folder() / "catalog.json").read_text(encoding="utf-8"))
    for kind in ("tasks", "models"):
        catalog[kind] = [{**hostile("", entry), "name": entry["name"]} for entry in catalog[kind]]
    for model in catalog["models"]:
        for file in model.get("elsewhere", {}).get("files", []):
            file.pop("name", None)
    for name, task in (("published", "BTCV"), ("ours", "KiTS19")):
        download = {"urls": ["https://a.example/m.zip"], "sha256": "0" * 64, "bytes": 5}
        texts = {key: f"{key} NC {EVIL}" for key in ("title", "version", "licence")}
        catalog["models"].append({"name": name, "task": task, "download": download, **texts})
    return catalog


@pytest.fixture
def panel(tmp_path, monkeypatch, show_panel):
    """The panel with a hostile catalog and hostile models."""
    from mednext.library.catalog_source import load_catalog

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    labels = tuple(replace(label, name=f"{label.name}{EVIL}") for label in TINY_MODEL.labels)
    channels = (replace(TINY_MODEL.channels[0], name=f"T1{EVIL}"),)
    texts = {key: f"{key}{EVIL}" for key in ("title", "description", "version", "licence", "citation")}
    for name, task in (("ours", "KiTS19"), ("theirs", "hippocampus")):
        tiny_bundle(tmp_path / "models" / name, task=task, labels=labels, channels=channels, **texts)
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "models"))
    with Server() as server:
        url = server.answer("/catalog.json", serve(json.dumps(hostile_catalog()).encode()))
        monkeypatch.setenv("MEDNEXT_CATALOG_URL", url)
        load_catalog(refresh=True)
        slicer.app.userSettings().clear()
        root, widget = show_panel(MODULE)
        widget.root = root
        yield widget


def items_of(widget: object) -> Iterator[tuple[str, str]]:
    """Texts of the rows of a list, a table or a box; no widget renders these."""
    import qt

    if widget.inherits("QComboBox") and widget.objectName:  # nameless ones are part of Slicer's own selectors
        yield from (("plain", widget.itemText(row)) for row in range(widget.count))
        yield from (("tip", widget.itemData(row, qt.Qt.ToolTipRole) or "") for row in range(widget.count))
    if widget.inherits("QListWidget"):
        items = [widget.item(row) for row in range(widget.count)]
    elif widget.inherits("QTableWidget"):
        places = [(row, column) for row in range(widget.rowCount) for column in range(widget.columnCount)]
        items = [widget.item(*place) for place in places if widget.item(*place)]
    else:
        items = []
    for item in items:
        yield "plain", item.text()
        yield "tip", item.toolTip()


def texts_of(panel: object) -> Iterator[tuple[str, str, str]]:
    """Name of a widget of the panel, whether its text is rendered, and the text."""
    import qt

    for widget in slicer.util.findChildren(panel.root):
        if not widget.isWidgetType():
            continue
        name = f"{type(widget).__name__} {widget.objectName}"
        yield name, "tip", widget.toolTip
        if widget.inherits("QLabel"):
            plain = widget.textFormat == qt.Qt.PlainText
            yield name, "plain" if plain else "rendered", widget.text
        elif widget.inherits("QAbstractButton"):
            yield name, "plain", widget.text
        elif widget.inherits("QGroupBox"):
            yield name, "plain", widget.title
        elif widget.inherits("QLineEdit"):
            yield name, "plain", widget.text
        for kind, text in items_of(widget):
            yield name, kind, text


def assert_all_is_seen_and_nothing_rendered(panel: object) -> set[str]:
    """Returns the names of the widgets that show something of `EVIL`."""
    seen = Counter()
    for name, kind, text in texts_of(panel):
        assert shown_lines(text) == text, f"{name} hides something: {text!r}"
        assert kind == "plain" or "<img" not in text, f"{name} renders {text!r}"
        seen[name] += SEEN in text
    return {name for name, count in seen.items() if count}


def test_names_of_models_and_tasks_are_shown_and_not_rendered(panel):
    box = panel.ui.taskBox
    seen = set()
    for row in range(box.count):
        box.setCurrentIndex(row)
        seen |= assert_all_is_seen_and_nothing_rendered(panel)
    labels = {"cardLabel", "pictureLabel", "termsLabel", "weightsLabel"}
    assert {name.split()[-1] for name in seen} >= labels | {"taskBox", "modelsTable", "structuresList"}


def test_a_channel_is_shown_and_not_rendered(panel):
    choose(panel, "theirs")
    selector(panel, 0)
    assert "QLabel " in assert_all_is_seen_and_nothing_rendered(panel)  # made for the channel, without a name


def test_names_of_nodes_segments_and_structures_are_shown_and_not_rendered(panel, scene):
    volume = add_volume(scene, head())
    volume.SetName(f"T1{EVIL}")
    choose(panel, "theirs")
    set_option(panel.ui.deviceBox, "cpu")
    node = segment(panel)
    node.SetName(f"result{EVIL}")
    panel.panel.resultView.show(None)
    panel.panel.resultView.show(node)
    panel.panel.parameters.segmentation = node
    seen = {name.split()[-1] for name in assert_all_is_seen_and_nothing_rendered(panel)}
    assert seen >= {"resultLabel", "volumesTable", "replacedLabel"}


def test_an_error_is_shown_and_not_rendered(panel):
    panel.panel.modelsView.command.say(f"The model {EVIL} is of no use.", error=True)
    assert panel.ui.modelsErrorLabel.text.startswith('The model <img src="file:///etc/passwd"><b>\\u202egnp.')
    assert_all_is_seen_and_nothing_rendered(panel)


def test_a_question_is_asked_and_not_rendered(panel, dialogs):
    import qt

    panel.ui.modelsTable.selectRow(1)
    dialogs.answer(qt.QMessageBox.No)
    panel.ui.removeModelButton.click()
    (asked,) = dialogs.asked
    assert asked.text.startswith("<qt>Remove the model &quot;ours&quot;")


def test_volumes_on_the_clipboard_are_no_formulas(panel, scene):
    from MedNeXtSegmentationLib.panel.result import result_view

    copied = result_view.copied_rows({"=cmd|' /C calc'!A0": 1.0, "liver\tleft\n": 2.0})
    assert copied == ["'=cmd|' /C calc'!A0\t1.0000", "liver left \t2.0000"]


def assignments_and_questions() -> Iterator[tuple[str, ast.expr]]:
    """All tool tips and questions in the module's code: where they are, and how they are made."""
    for path in sorted(MODULE.with_name("MedNeXtSegmentationLib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            targets = node.targets if isinstance(node, ast.Assign) else ()
            name = (
                node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
            )
            if any(isinstance(target, ast.Attribute) and target.attr == "toolTip" for target in targets):
                yield f"{path.name}:{node.lineno}", node.value
            elif name == "setToolTip" or name.endswith("Display"):
                yield f"{path.name}:{node.lineno}", node.args[0]


def is_ours_or_shown(text: ast.expr) -> bool:
    """Whether nothing of strangers comes into a text but through `tool_tip`."""
    if isinstance(text, ast.IfExp):
        return is_ours_or_shown(text.body) and is_ours_or_shown(text.orelse)
    if isinstance(text, ast.Attribute):
        return text.attr == "toolTip"
    made = text.func.id if isinstance(text, ast.Call) and isinstance(text.func, ast.Name) else ""
    return made == "tool_tip" or (made == "_" and isinstance(text.args[0], ast.Constant))


def test_every_tool_tip_and_every_question_goes_through_one_way():
    found = dict(assignments_and_questions())
    assert len(found) > 10
    assert [place for place, text in found.items() if not is_ours_or_shown(text)] == []
