"""Engines on Ray Serve: the local result, also when an engine is killed. `make server-proof` does more."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading

import numpy as np
import pytest
from bundles import tiny_bundle
from mednext.inference.options import Options
from mednext.remote.segment import segment
from mednext_server import QUICK, engine_processes, local_results, noise, running_server

if "MEDNEXT_RAY" not in os.environ:
    pytest.skip("Ray's eight processes take a minute to start: make server-proof", allow_module_level=True)
if importlib.util.find_spec("ray") is None:
    pytest.skip("Ray is not installed: pip install 'ray[serve]'", allow_module_level=True)


pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.timeout(900),  # Ray starts eight processes, which takes minutes on a busy machine
]


@pytest.fixture(scope="module")
def engines():
    from mednext.server.ray_engines import Fleet, ray_engines

    with ray_engines(Fleet(1, "cpu", 1), 2**20) as engines:
        yield engines


def test_a_run_whose_engine_is_killed_gives_the_local_result(tmp_path, engines):
    bundle = tiny_bundle(tmp_path / "tiny")
    options = Options(uncertainty=True)
    results = local_results(noise(), bundle, options)
    killed, told = threading.Event(), []

    def kill(progress):
        told.append(progress)
        if progress.stage in ("loading", "network") and not killed.is_set():
            killed.set()
            os.kill(engine_processes()[0], signal.SIGKILL)

    with running_server(tmp_path, [bundle], engines) as server:
        there = segment(noise(), bundle.model, server.access(), options, progress=kill, patience=QUICK)
    assert killed.is_set()
    assert any("begins again" in progress.remark for progress in told)
    here = results[there.provenance["formulation"]]
    assert np.array_equal(there.labelmap, here.labelmap)
    assert np.array_equal(there.uncertainty, here.uncertainty)
