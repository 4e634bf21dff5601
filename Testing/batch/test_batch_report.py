"""`report.csv` keeps any text, is safe in a spreadsheet, and survives several writers."""

from __future__ import annotations

import csv
import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mednext.batch import report as report_module
from mednext.batch.report import FAILED, Report, Row
from mednext.errors import OutputError
from mednext.system.shown_text import shown


@pytest.fixture
def path(tmp_path):
    return tmp_path / "report.csv"


@given(text=st.text(), ml=st.floats(0, 1e4))
def test_any_text_comes_back(tmp_path_factory, text, ml):
    report = Report(tmp_path_factory.mktemp("report") / "report.csv")
    report.put(Row("case", files=text, message=text, volumes_ml={'left, "kidney" 肾': ml}))
    (row,) = report.rows()
    assert (row.files, row.message) == (shown(text), shown(text))
    assert row.volumes_ml == {'left, "kidney" 肾': pytest.approx(ml, abs=1e-4)}


def test_a_spreadsheet_finds_no_formula_in_it(path):
    Report(path).put(Row("=HYPERLINK(1)", message="-1+1", volumes_ml={"@SUM(A1)": 1.0}))
    with path.open(encoding="utf-8-sig", newline="") as file:
        (cells,) = csv.DictReader(file)
    assert cells["case"] == "'=HYPERLINK(1)" and cells["message"] == "'-1+1"
    assert "'@SUM(A1) (mL)" in cells


def test_the_difference_of_the_sides_is_a_number_in_a_column_of_results_with_sides(path):
    report = Report(path)
    report.put(Row("crop", volumes_ml={"hippocampus": 1.0}))
    assert "asymmetry_percent" not in path.read_text(encoding="utf-8-sig")
    report.put(Row("head", volumes_ml={"left hippocampus": 1.0}, asymmetry_percent=-12.5))
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert [cells["asymmetry_percent"] for cells in csv.DictReader(file)] == ["", "-12.5"]
    assert [row.asymmetry_percent for row in report.rows()] == [None, -12.5]


def test_excel_sees_that_it_is_utf_8(path):
    Report(path).put(Row("ü"))
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")


def test_a_case_has_one_row_the_latest(path):
    report = Report(path)
    report.put(Row("=a", FAILED, message="bad"))
    report.put(Row("=a", volumes_ml={"liver": 1.0}))
    report.put(Row("b", volumes_ml={"spleen": 2.0}))
    rows = {row.case: row for row in report.rows()}
    assert rows["=a"].status == "done"
    assert (rows["=a"].volumes_ml, rows["b"].volumes_ml) == ({"liver": 1.0}, {"spleen": 2.0})


def test_several_writers_lose_nothing(path):
    threads = [threading.Thread(target=Report(path).put, args=[Row(f"case {n}")]) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Report(path).rows()) == 12


def test_a_report_that_is_open_elsewhere_is_written_later(path, monkeypatch, caplog):
    report = Report(path)
    writing = report_module.replacing

    def locked(_path):
        raise OutputError("The file is open in Excel.")

    monkeypatch.setattr(report_module, "replacing", locked)
    with caplog.at_level(logging.WARNING):
        report.put(Row("a"))
    assert "written later" in caplog.text
    with pytest.raises(OutputError):
        report.flush()
    monkeypatch.setattr(report_module, "replacing", writing)
    report.put(Row("b"))
    assert [row.case for row in report.rows()] == ["a", "b"]


@pytest.mark.parametrize(
    "content", [b"name;age\r\nx;1\r\n", b"\xff\xfe\x00", b"case,status,liver (mL)\r\na,done,x"]
)
def test_a_file_that_is_not_a_report_is_not_overwritten(path, content):
    path.write_bytes(content)
    with pytest.raises(OutputError, match="move it away"):
        Report(path)
    assert path.read_bytes() == content
