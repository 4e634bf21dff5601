"""Slicer's own unit tests of its Python files pass on the stand-in."""

from __future__ import annotations

import importlib.util
import os
import sys
import unittest
from pathlib import Path

import pytest

# Its connectors come with Slicer's module SubjectHierarchy.
OF_ANOTHER_MODULE = "test_qMRMLSubjectHierarchy"
SUITES = (
    "test_slicer_parameter_node_wrapper",
    "test_slicer_parameter_node_wrapper_guis",
    "test_slicer_parameter_node_wrapper_gui_creation",
    "test_slicer_parameter_pack",
    "test_slicer_util_VTKObservationMixin",
)


@pytest.mark.skipif(
    "SLICER_SOURCE" not in os.environ, reason="set SLICER_SOURCE to a checkout of Slicer to run its tests"
)
@pytest.mark.parametrize("name", SUITES)
def test_slicers_own_tests_pass(scene, name, monkeypatch):
    file = Path(os.environ["SLICER_SOURCE"], "Base/Python/slicer/tests", f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
    assert result.testsRun > 5
    failed = [f"{case}\n{text}" for case, text in (*result.errors, *result.failures)]
    assert [text for text in failed if OF_ANOTHER_MODULE not in text] == []
