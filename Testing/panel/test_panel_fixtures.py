"""Errors that PythonQt and VTK swallow fail the test, and so do dialogs and answers without the other."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
HERE = Path(__file__).parents[1]

CASES = {
    "an exception in a slot": """
        import qt
        button = qt.QPushButton()
        button.connect("clicked()", lambda: 1 / 0)
        button.click()
    """,
    "an exception in an observer": """
        tag = scene.AddObserver("ModifiedEvent", lambda caller, event: 1 / 0)
        scene.Modified()
        scene.RemoveObserver(tag)
    """,
    "an unanswered dialog that the code swallows": """
        import qt
        try:
            qt.QMessageBox.question(None, "Title", "Really?")
        except Exception:
            pass
    """,
    "an answer that nobody asked for": """
        dialogs.answer(1)
    """,
}


def test_failures_out_of_sight_fail_the_test(pytester):
    pytester.makeini(f"[pytest]\npythonpath = {HERE}")
    pytester.makeconftest((HERE / "conftest.py").read_text())
    pytester.makepyfile(
        "\n".join(
            f"def test_{number}(scene, dialogs):\n    {body.strip()}\n".replace("\n        ", "\n    ")
            for number, body in enumerate(CASES.values())
        )
        + "\ndef test_fine(scene, dialogs):\n    import qt\n    dialogs.answer(2)\n"
        "    assert qt.QMessageBox.question(None, '', '') == 2\n"
    )
    result = pytester.runpytest_subprocess("-q")
    result.assert_outcomes(passed=5, errors=4)
    result.stdout.fnmatch_lines(["*ZeroDivisionError*", "*waited for an answer*", "*did not come up*"])


@pytest.mark.parametrize("error", [ValueError("seen")])
def test_an_expected_exception_is_taken_out(slot_errors, error):
    import sys

    sys.excepthook(type(error), error, None)
    assert slot_errors.pop() is error
