"""Find the hippocampi of random heads and count: `python -m benchmarks.heads --cases 300`.

Each case is a line of the output file; a second call continues after the last one. `--hard` takes heads at
and beyond the limits, and images of other things, instead.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mednext import load_bundle
from mednext.errors import LocationError
from mednext.locating.boxes import find_boxes
from mednext.model.description import Model
from mednext.model.location import SIDES

from .. import ROOT
from .cases import Head, data_folder, random_head
from .hard import DOUBTED, FOUND, hard_heads

CLOSE_MM = 6.0


def main() -> None:
    """Run the missing cases and print the counts of all."""
    parser = argparse.ArgumentParser(prog="benchmarks.heads", description=__doc__)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--hard", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    options.output = options.output or ROOT / "build" / f"{'hard_' if options.hard else ''}heads.jsonl"
    if not (data_folder() / "ch2.nii.gz").is_file():
        parser.error(f"Colin27 is not in {data_folder()}: set MEDNEXT_DATA to the folder above.")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    lines = options.output.read_text(encoding="utf-8").splitlines() if options.output.exists() else []
    results = [json.loads(line) for line in lines]
    done = {result["seed"] for result in results}
    model = load_bundle("hippocampus").model
    with options.output.open("a", encoding="utf-8") as file:
        for name, make in _cases(options).items():
            if name in done:
                continue
            results.append(result := located(name, make(), model))
            print(json.dumps(result), file=file, flush=True)
            sys.stdout.write(f"{name}: {result['outcome']} {result['off_mm'] or ''}\n")
    sys.stdout.write((hard_summary if options.hard else summary)(results) + "\n")


def _cases(options: argparse.Namespace) -> dict[int | str, Callable[[], Head]]:
    """How to make each head, by its number or its kind."""
    if options.hard:
        return {kind: make for kind, _, make in hard_heads()}
    return {seed: partial(random_head, seed) for seed in range(options.cases)}


def located(name: int | str, head: Head, model: Model) -> dict[str, Any]:
    """Outcome ("found", "warned" or "refused"), distances and seconds of one case."""
    begin, begin_cpu = time.perf_counter(), time.process_time()
    result: dict[str, Any] = {
        "seed": name,
        **head.told,
        "outcome": "found",
        "off_mm": None,
        "exchanged": False,
    }
    try:
        boxes = find_boxes(head.volume, model, insist=False)
    except LocationError as error:
        result |= {"outcome": "refused", "why": str(error)}
    else:
        middles = {side: (np.array(roi.lower) + roi.upper) / 2 for side, roi in boxes.of_side.items()}
        if head.centres:
            result |= _distances(middles, head.centres)
        result |= {"outcome": "warned" if boxes.warnings else "found", "why": " ".join(boxes.warnings)}
        result |= {"similarity": boxes.words["location_similarity"]}
    result["seconds"] = round(time.perf_counter() - begin, 2)
    result["cpu_seconds"] = round(time.process_time() - begin_cpu, 2)
    return result


def _distances(middles: dict[str, np.ndarray], centres: dict[str, np.ndarray]) -> dict[str, Any]:
    """The larger distance of the two middles from the true ones, mm, and whether the sides are exchanged."""
    off = [float(np.linalg.norm(middles[side] - centres[side])) for side in SIDES]
    crossed = [
        float(np.linalg.norm(middles[side] - centres[other]))
        for side, other in zip(SIDES, SIDES[::-1], strict=True)
    ]
    return {"off_mm": round(max(off), 2), "exchanged": min(crossed) < max(off)}


def hard_summary(results: list[dict[str, Any]]) -> str:
    """The cases whose outcome is not the expected one, and the counts of all."""
    expected = {kind: outcome for kind, outcome, _ in hard_heads()}
    wrong = [
        f"WRONG {result['seed']}: {result['outcome']}, {result['off_mm']} mm"
        for result in results
        if result["outcome"] == "found"
        and (expected[result["seed"]] == DOUBTED or result["off_mm"] > CLOSE_MM or result["exchanged"])
    ]
    lines = [*wrong]
    for outcome in (FOUND, DOUBTED):
        of_it = [result["outcome"] for result in results if expected[result["seed"]] == outcome]
        counts = ", ".join(f"{of_it.count(each)} {each}" for each in ("found", "warned", "refused"))
        lines.append(f"{len(of_it)} cases that must be {outcome}: {counts}")
    return "\n".join(lines)


def summary(results: list[dict[str, Any]]) -> str:
    """The counts of all cases."""
    found = [result for result in results if result["off_mm"] is not None]
    close = [result for result in found if result["off_mm"] <= CLOSE_MM]
    far = [result for result in found if result["off_mm"] > CLOSE_MM]
    silent = [result["seed"] for result in far if result["outcome"] == "found"]
    seconds, cpu = ([result[name] for result in results] for name in ("seconds", "cpu_seconds"))
    return "\n".join(
        [
            f"{len(results)} cases: both centres within {CLOSE_MM:g} mm in {len(close)}",
            f"of these with a warning: {sum(result['outcome'] == 'warned' for result in close)}",
            f"further away, with a warning: {len(far) - len(silent)}; without one: {silent or 0}",
            f"refused: {[result['seed'] for result in results if result['outcome'] == 'refused'] or 0}",
            f"sides exchanged: {[result['seed'] for result in found if result['exchanged']] or 0}",
            f"distance: median {np.median([result['off_mm'] for result in found]):.1f} mm",
            f"seconds: median {np.median(seconds):.1f}, most {max(seconds):.1f}; "
            f"of the processor: median {np.median(cpu):.1f}, most {max(cpu):.1f}",
        ]
    )


if __name__ == "__main__":
    main()
