"""Engines on Ray Serve: the local result, also when an engine is killed. `make server-proof` does more."""

from __future__ import annotations

import importlib.util
import os
import signal
from contextlib import aclosing

import numpy as np
import pytest
from fixtures.models.bundles import tiny_bundle
from fixtures.servers.mednext_server import QUICK, engine_processes, local_results, noise, running_server
from mednext.inference.options import Options
from mednext.remote.segment import segment

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


class Deadly:
    """Engines of which the first is killed as soon as it tells of its first run."""

    def __init__(self, engines):
        self.count, self.killed, self._engines = engines.count, False, engines

    async def events(self, *request):
        async with aclosing(self._engines.events(*request)) as events:
            async for event in events:
                if not self.killed:
                    self.killed = True
                    os.kill(engine_processes()[0], signal.SIGKILL)
                yield event


def test_a_run_whose_engine_is_killed_gives_the_local_result(tmp_path, engines):
    # Of many tiles: the run is still far from its end when the engine's first word arrives.
    bundle = tiny_bundle(tmp_path / "tiny", spacing=(0.4, 0.4, 0.4))
    options = Options(uncertainty=True)
    results = local_results(noise(), bundle, options)
    deadly, told = Deadly(engines), []
    with running_server(tmp_path, [bundle], deadly) as server:
        there = segment(noise(), bundle.model, server.access(), options, progress=told.append, patience=QUICK)
    assert deadly.killed
    assert any("begins again" in progress.remark for progress in told)
    here = results[there.provenance["formulation"]]
    assert np.array_equal(there.labelmap, here.labelmap)
    assert np.array_equal(there.uncertainty, here.uncertainty)
