"""A GLM of a million rows and ten predictors: time and peak memory of one gradient and of sampling, beside PyMC 6.

python benchmarks/large.py [--rows 1000000] [--draws 500] [--family binomial]

One chain of `draws` + `draws`. Memory is the peak above that after imports, as a multiple of the data (float64).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import Failed, bare
from peers import PYTHON, environment
from results import report

PREDICTORS = 10


def make_data(rows: int, family: str, path: Path) -> float:
    """Write simulated data; return their size in MB."""
    random = np.random.default_rng(8927)
    design = random.normal(size=(rows, PREDICTORS))
    mean = 1.0 + design @ np.linspace(-1.0, 1.0, PREDICTORS)
    y = mean + random.normal(size=rows) if family == "normal" else (mean > random.logistic(size=rows)).astype(float)
    np.savez(path, y=y, **{f"x{i}": design[:, i] for i in range(PREDICTORS)})
    return (design.nbytes + y.nbytes) / 2**20


def measure(program: str, path: Path, draws: int, family: str, data_mb: float) -> dict[str, object]:
    """Run one program's script on the data."""
    python = sys.executable if program == "bayesrun" else PYTHON
    output = bare(python, f"large_{program}.py", str(path), str(draws), family).output
    (line,) = (line for line in output.splitlines() if line.startswith("RESULT "))
    found = json.loads(line.removeprefix("RESULT "))
    over = {f"{what}_memory_over_data": found[f"{what}_mb"] / data_mb for what in ("gradient", "sampling")}
    return {"program": program, **found, **over}


def main() -> None:
    """Measure bayesrun and, where it can be installed, PyMC 6."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--family", choices=["binomial", "normal"], default="binomial")
    arguments = parser.parse_args()
    peers, failures = environment()
    rows = []
    with tempfile.TemporaryDirectory(prefix="bayesrun-large-") as folder:
        path = Path(folder) / "data.npz"
        data_mb = make_data(arguments.rows, arguments.family, path)
        for program in ("bayesrun", *(["pymc"] if "pymc" in peers else [])):
            try:
                rows.append(measure(program, path, arguments.draws, arguments.family, data_mb))
            except Failed as error:
                failures.append(f"{program}: {str(error).splitlines()[-1]}")
    for row in rows:
        row["sampling_over_ours"] = row["sampling"] / rows[0]["sampling"]  # type: ignore[operator]
    settings = {**vars(arguments), "predictors": PREDICTORS, "data_mb": data_mb}
    report(f"large_{arguments.family}", rows, settings, failures)


if __name__ == "__main__":
    main()
