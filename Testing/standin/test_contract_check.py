"""The check of a module against Slicer's interface finds planted mistakes, and is silent about right code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from slicer_contract.module_folder import check_module
from slicer_contract.ui_file import UiFile

HERE = Path(__file__).parents[1]
UI = """<ui version="4.0"><widget class="qMRMLWidget" name="panel">
<widget class="QPushButton" name="button"><property name="{property}"><string>x</string></property></widget>
<widget class="{widget}" name="selector"/></widget>
<connections><connection><sender>panel</sender><signal>{signal}</signal>
<receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""
RIGHT = {"property": "text", "widget": "qMRMLNodeComboBox", "signal": "mrmlSceneChanged(vtkMRMLScene*)"}


def findings(folder, code="", **ui):
    (folder / "module.py").write_text(code)
    (folder / "module.ui").write_text(UI.format(**RIGHT | ui))
    return [finding.text for finding in check_module(folder)]


def test_right_code_has_no_findings(tmp_path):
    code = """
import ctk, qt, slicer
class Widget:
    def bind(self):
        self.box.collapsed = True
        self.ui.button.connect("clicked(bool)", print)
        self.ui.selector.setCurrentNode(None)
    def setup(self):
        self.box = ctk.ctkCollapsibleButton()
        self.box.text = "Advanced"
        label = qt.QLabel("a")
        slicer.app.layoutManager().setLayout(3)
    def other(self, label):
        label.anything()
"""
    assert findings(tmp_path, code) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("self.ui.selector.setCurentNode(None)", "qMRMLNodeComboBox shows no 'setCurentNode'"),
        ("self.ui.selector.connect('nodeChanged(vtkMRMLNode*)', print)", "no signal 'nodeChanged"),
        ("self.ui.button.connect('clicked(int)', print)", "no signal 'clicked(int)'"),
        ("self.ui.button.text()", "is a property: it cannot be called"),
        ("self.ui.button.click = print", "is a method: it cannot be assigned"),
        ("self.ui.buton.click()", "no .ui file has an object 'buton'"),
        ("slicer.app.temporaryPth", "qSlicerApplication shows no 'temporaryPth'"),
        ("slicer.app.slicerHome = ''", "is read-only"),
        ("ctk.ctkMagicWand()", "Slicer has no ctk.ctkMagicWand"),
        ("qt.QLabel(text='a')", "takes no keyword arguments"),
        ("label = qt.QLabel(); label.setTxet('a')", "QLabel shows no 'setTxet'"),
        ("self.ui.button.setEnabled(enabled=True)", "takes no keyword arguments"),
    ],
)
def test_a_planted_mistake_in_python_is_found(tmp_path, line, expected):
    found = findings(tmp_path, f"import ctk, qt, slicer\nclass Widget:\n  def setup(self):\n    {line}\n")
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        ({"property": "txet"}, "QPushButton has no property 'txet'"),
        ({"widget": "qMRMLNodeComboBx"}, "no widget class qMRMLNodeComboBx"),
        ({"signal": "sceneChanged(vtkMRMLScene*)"}, "no signal sceneChanged"),
    ],
)
def test_a_planted_mistake_in_a_ui_file_is_found(tmp_path, mistake, expected):
    assert expected in findings(tmp_path, **mistake)[0]


def test_a_buddy_that_is_not_in_the_file_is_found(tmp_path):
    label = '<widget class="QLabel" name="a"><property name="buddy"><cstring>{}</cstring></property></widget>'
    file = tmp_path / "a.ui"
    for buddy, found in (("a", []), ("b", ["a: there is no widget 'b' to be its buddy"])):
        file.write_text(f"<ui>{label.format(buddy)}</ui>")
        assert [finding.text for finding in UiFile(file).findings()] == found


def test_the_command_tells_file_and_line_and_fails(tmp_path):
    findings(tmp_path, "import qt\n\nqt.QLabel().txet\n")
    result = subprocess.run(
        [sys.executable, "-m", "slicer_contract", tmp_path],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout.startswith(f"{tmp_path / 'module.py'}:3: QLabel shows no 'txet'")


def test_the_extension_keeps_the_contract():
    assert check_module(HERE.parent / "MedNeXtSegmentation") == []
