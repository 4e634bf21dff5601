"""Find the hippocampi of random heads and count: `python -m benchmarks.heads --cases 300`.

Each case is a line of the output file; a second call continues after the last one. `--hard` takes heads at
and beyond the limits, and images of other things, instead.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from mednext import load_bundle
from mednext.errors import LocationError
from mednext.locating.boxes import find_boxes
from mednext.model.description import Model
from mednext.model.location import SIDES

from .. import ROOT
from .cases import data_folder, random_head

CLOSE_MM = 6.0


def main() -> None:
    """Run the missing cases and print the counts of all."""
    parser = argparse.ArgumentParser(prog="benchmarks.heads", description=__doc__)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "heads.jsonl")
    options = parser.parse_args()
    if not (data_folder() / "ch2.nii.gz").is_file():
        parser.error(f"Colin27 is not in {data_folder()}: set MEDNEXT_DATA to the folder above.")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    lines = options.output.read_text(encoding="utf-8").splitlines() if options.output.exists() else []
    results = [json.loads(line) for line in lines]
    done = {result["seed"] for result in results}
    model = load_bundle("hippocampus").model
    with options.output.open("a", encoding="utf-8") as file:
        for seed in sorted(set(range(options.cases)) - done):
            results.append(result := located(seed, model))
            print(json.dumps(result), file=file, flush=True)
            sys.stdout.write(f"{seed} {result['outcome']} {result['off_mm']}\n")
    sys.stdout.write(summary(results) + "\n")


def located(seed: int, model: Model) -> dict[str, Any]:
    """Outcome ("found", "warned" or "refused"), distances and seconds of one case."""
    head = random_head(seed)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    result: dict[str, Any] = {
        "seed": seed,
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
        off = {side: float(np.linalg.norm(middles[side] - head.centres[side])) for side in SIDES}
        crossed = [
            float(np.linalg.norm(middles[side] - head.centres[other]))
            for side, other in zip(SIDES, SIDES[::-1], strict=True)
        ]
        result |= {"off_mm": round(max(off.values()), 2), "exchanged": min(crossed) < max(off.values())}
        result |= {"outcome": "warned" if boxes.warnings else "found", "why": " ".join(boxes.warnings)}
        result |= {"similarity": boxes.words["location_similarity"]}
    result["seconds"] = round(time.perf_counter() - begin, 2)
    result["cpu_seconds"] = round(time.process_time() - begin_cpu, 2)
    return result


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
