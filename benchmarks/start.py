"""Time to the first draw and of whole commands, beside a bare PyMC3 script of the same model; cold and warm caches.

python benchmarks/start.py [MODEL ...]

"Cold" is an empty Theano compile cache of its own; "warm" is the second run on it. bayesrun does all that it does by
default (predictions, checks, figures, tracking); the bare script only samples. Pairs run in turn.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from measure import Measured, bare, bayesrun, last_run
from results import report

MODELS = ("linear_regression", "switchpoint")
SETTINGS = {"draws": 1000, "tune": 1000, "chains": 4}


def measure(model: str, program: str, cache: Path, folder: Path) -> tuple[float, float]:
    """Return the seconds to the first draw and of the whole command."""
    env = {"THEANO_FLAGS": f"base_compiledir={cache}"}
    if program == "bayesrun":
        began = time.time()
        done = bayesrun(folder, f"model={model}", env=env)
        return _first_draw(folder) - began, done.seconds
    flags = [part for key, value in SETTINGS.items() for part in (f"--{key}", str(value))]
    measured: Measured = bare(sys.executable, "pymc3_script.py", model, *flags, env=env)
    assert measured.first_draw is not None
    return measured.first_draw, measured.seconds


def _first_draw(folder: Path) -> float:
    lines = (last_run(folder) / "run.log").read_text().splitlines()
    (line,) = (line for line in lines if line.endswith("bayesrun.sampling: first draw"))
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()


def rows_of(model: str, repeats: int, folder: Path) -> list[dict[str, object]]:
    """Measure both programs cold once and warm `repeats` times, in turn; the medians and their ratio."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for index in range(repeats + 1):
        cache = "cold" if index == 0 else "warm"
        for program in ("pymc3", "bayesrun"):
            out = folder / f"{model}_{program}_{index}"
            found.setdefault((cache, program), []).append(
                measure(model, program, folder / f"cache_{model}_{program}", out)
            )
            print(f"{model} {program} {cache}: {found[cache, program][-1]}", flush=True)
    return [_row(model, cache, found[cache, "bayesrun"], found[cache, "pymc3"]) for cache in ("cold", "warm")]


def _row(
    model: str, cache: str, ours: list[tuple[float, float]], theirs: list[tuple[float, float]]
) -> dict[str, object]:
    def median(pairs: list[tuple[float, float]], which: int) -> float:
        values = sorted(pair[which] for pair in pairs)
        return values[len(values) // 2]

    first, first_bare = median(ours, 0), median(theirs, 0)
    whole, whole_bare = median(ours, 1), median(theirs, 1)
    return {
        "model": model,
        "cache": cache,
        "first_draw": first,
        "bare_first_draw": first_bare,
        "ratio_first_draw": first / first_bare,
        "whole": whole,
        "bare_whole": whole_bare,
        "ratio_whole": whole / whole_bare,
    }


def main() -> None:
    """Measure the models named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--repeats", type=int, default=3, help="warm runs of each program")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bayesrun-start-") as folder:
        rows = [row for model in arguments.models for row in rows_of(model, arguments.repeats, Path(folder))]
    report("start", rows, {**SETTINGS, "repeats": arguments.repeats})


if __name__ == "__main__":
    main()
