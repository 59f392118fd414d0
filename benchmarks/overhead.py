"""A run's own overhead: what a whole command takes beside compiling and sampling, and how much of it is tracking.

python benchmarks/overhead.py [MODEL ...]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from measure import bayesrun, last_run
from results import report

MODELS = ("linear_regression", "eight_schools", "switchpoint")


def overhead(model: str, folder: Path, *overrides: str) -> tuple[float, float, float]:
    """Return the seconds of a whole command, of its compiling and of its sampling."""
    done = bayesrun(folder, f"model={model}", *overrides)
    metrics = json.loads((last_run(folder) / "metrics.json").read_text())
    return done.seconds, metrics["seconds_compile"], metrics["seconds_sample"]


def row_of(model: str, repeats: int, folder: Path) -> dict[str, object]:
    """Measure one model with and without tracking, in turn, after one run that warms the caches; medians."""
    tracked, untracked = [], []
    overhead(model, folder)  # warms the compile cache, and makes the tracking database
    for _ in range(repeats):
        tracked.append(overhead(model, folder))
        untracked.append(overhead(model, folder, "tracking=none"))
    whole, compiling, sampling = sorted(tracked)[repeats // 2]
    without = sorted(untracked)[repeats // 2]
    own = whole - compiling - sampling
    return {
        "model": model,
        "whole": whole,
        "compile": compiling,
        "sample": sampling,
        "overhead": own,
        "tracking": own - (without[0] - without[1] - without[2]),
        "share_of_goal": own / 3.0,
    }


def main() -> None:
    """Measure the models named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bayesrun-overhead-") as folder:
        rows = [row_of(model, arguments.repeats, Path(folder) / model) for model in arguments.models]
    report("overhead", rows, {"repeats": arguments.repeats, "goal_seconds": 3.0, "goal_tracking_seconds": 1.0})


if __name__ == "__main__":
    main()
