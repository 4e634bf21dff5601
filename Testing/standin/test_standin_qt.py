"""`qt` of the stand-in has PythonQt's conventions and refusals."""

from __future__ import annotations

import sys
import threading
import time

import pytest
import slicer
import slicer_standin
from slicer_standin import StandInError


@pytest.fixture(autouse=True)
def _slicer(scene):
    """Slicer is started."""


@pytest.fixture
def qt():
    import qt

    return qt


def test_a_property_is_an_attribute_and_no_method(qt):
    label = qt.QLabel("text")
    label.text = "other"
    assert label.text == "other"
    with pytest.raises(TypeError):
        label.text()


def test_a_read_only_property_cannot_be_set(qt):
    with pytest.raises(AttributeError, match="not writable"):
        qt.QLineEdit().acceptableInput = True


def test_a_property_refuses_values_that_it_cannot_convert(qt):
    with pytest.raises(AttributeError, match="does not accept"):
        qt.QSpinBox().value = "three"


def test_a_cpp_object_takes_no_new_attributes(qt):
    with pytest.raises(AttributeError, match="not allowed"):
        qt.QPushButton().onClicked = print


def test_a_subclass_written_in_python_does(qt):
    class Button(qt.QPushButton):
        pass

    button = Button()
    button.answer = 42
    assert button.answer == 42
    assert button.className() == "QPushButton"


def test_slots_and_signals_cannot_be_overwritten(qt):
    with pytest.raises(AttributeError, match="Slot"):
        qt.QPushButton().click = print
    with pytest.raises(AttributeError, match="Signal"):
        qt.QPushButton().clicked = print


def test_children_and_dynamic_properties_are_attributes(qt):
    parent = qt.QWidget()
    child = qt.QLabel(parent)
    child.name = "caption"
    child.setProperty("unit", "mm")
    assert parent.caption is child
    assert child.unit == "mm"
    with pytest.raises(AttributeError):
        _ = parent.footer


def test_a_slot_gets_as_many_arguments_as_it_takes(qt):
    calls = []
    button = qt.QPushButton()
    button.checkable = True
    button.connect("toggled(bool)", lambda: calls.append("none"))
    button.connect("toggled(bool)", lambda checked: calls.append(("one", checked)))
    button.checked = True
    assert calls == ["none", ("one", True)]


def test_disconnecting_ends_the_calls(qt):
    calls = []
    button = qt.QPushButton()
    button.connect("clicked()", calls.append)
    assert not button.disconnect("clicked()", print)
    assert button.disconnect("clicked()", calls.append)
    button.click()
    assert not calls


def test_a_signal_that_does_not_exist_cannot_be_connected(qt):
    with pytest.raises(StandInError, match="no signal 'pressed\\(int\\)'"):
        qt.QPushButton().connect("pressed(int)", print)


def test_a_timer_fires_in_the_event_loop(qt):
    fired = []
    timer = qt.QTimer()
    timer.singleShot = True
    timer.connect("timeout()", lambda: fired.append("timer"))
    timer.start(1)
    qt.QTimer.singleShot(0, lambda: fired.append("once"))
    deadline = time.monotonic() + 100
    while len(fired) < 2 and time.monotonic() < deadline:
        slicer.app.processEvents()
    assert sorted(fired) == ["once", "timer"]
    assert not timer.active


def test_the_output_of_a_process_is_read_in_the_event_loop(qt):
    output, ended = [], []
    process = qt.QProcess()
    process.connect(
        "readyReadStandardOutput()", lambda: output.append(process.readAllStandardOutput().data())
    )
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, _status: ended.append(code))
    process.start(sys.executable, ["-c", "print('hello')"])
    deadline = time.monotonic() + 100
    while not ended and time.monotonic() < deadline:
        slicer.app.processEvents()
    assert b"hello" in b"".join(output)
    assert ended == [0]


def test_enum_values_are_integers(qt):
    assert qt.QMessageBox.Yes | qt.QMessageBox.No == 0x14000
    assert qt.Qt.Vertical == 2
    assert int(qt.QProcess.CrashExit) == 1


def test_a_dialog_returns_the_queued_answer(qt, dialogs):
    dialogs.answer(qt.QMessageBox.Yes)
    dialogs.answer(lambda dialog: dialog.standardButton(dialog.buttons()[0]))
    dialogs.answer("/a/folder")
    assert qt.QMessageBox.question(None, "Title", "Really?") == qt.QMessageBox.Yes
    box = qt.QMessageBox(qt.QMessageBox.Warning, "Title", "Text", qt.QMessageBox.Ok)
    assert box.exec_() == qt.QMessageBox.Ok
    assert qt.QFileDialog.getExistingDirectory(None, "Where?") == "/a/folder"
    assert [question.text for question in dialogs.asked] == ["Really?", "Text", ""]


def test_a_dialog_without_an_answer_raises(qt, dialogs):
    with pytest.raises(StandInError, match="wait for ever"):
        qt.QInputDialog.getText(None, "Title", "Name?")
    assert dialogs.unanswered.pop().text == "Name?"


def test_settings_are_not_those_of_the_user(qt):
    core = slicer_standin.start()
    qt.QSettings().setValue("MedNeXt/key", 1)
    assert str(core.temporary_path) in qt.QSettings().fileName()


def test_a_ui_file_sets_enum_values_of_every_widget(qt, tmp_path):
    file = tmp_path / "widgets.ui"
    file.write_text(
        """<ui version="4.0"><widget class="QWidget" name="w">
        <widget class="ctkPathLineEdit" name="path"><property name="filters">
        <set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Hidden</set></property></widget>
        <widget class="ctkDoubleSlider" name="slider"><property name="orientation">
        <enum>Qt::Vertical</enum></property></widget></widget></ui>"""
    )
    widget = qt.QUiLoader().load(str(file))
    assert widget.path.filters == 0x101
    assert widget.slider.orientation == 2


def test_a_ui_file_with_an_unknown_class_is_refused(qt, tmp_path):
    file = tmp_path / "bad.ui"
    file.write_text('<ui version="4.0"><widget class="ctkMagicWand" name="w"/></ui>')
    with pytest.raises(StandInError, match="ctkMagicWand"):
        qt.QUiLoader().load(str(file))


def test_a_connection_of_a_ui_file_must_fit(qt, tmp_path):
    file = tmp_path / "bad.ui"
    file.write_text(
        """<ui version="4.0"><widget class="QWidget" name="w"><widget class="QCheckBox" name="box"/></widget>
        <connections><connection><sender>box</sender><signal>ticked(bool)</signal>
        <receiver>w</receiver><slot>setEnabled(bool)</slot></connection></connections></ui>"""
    )
    with pytest.raises(StandInError, match="ticked"):
        qt.QUiLoader().load(str(file))


@pytest.fixture
def counting():
    """A thread that counts as fast as it may; call it for its count."""
    counted, over = [0], threading.Event()

    def count():
        while not over.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    yield lambda: counted[0]
    over.set()
    thread.join()


def test_the_event_loop_keeps_pythons_lock_as_slicers_does(qt, counting):
    """Compared with a free lock; other programs may have the processor for a while."""

    def ratio():
        loop = qt.QEventLoop()
        qt.QTimer.singleShot(300, loop.quit)
        before = counting()
        loop.exec()
        held = counting() - before
        time.sleep(0.3)
        return held / max(counting() - before - held, 1)

    assert any(ratio() < 0.5 for _ in range(5))


def test_slots_are_called_while_the_lock_is_kept(qt):
    called = []
    qt.QTimer.singleShot(0, lambda: called.append(threading.current_thread()))
    slicer.app.processEvents()
    assert called == [threading.main_thread()]
