"""How the memory of a run grows with the number of rows: whole commands, as a multiple of what they store.

python benchmarks/rows.py [--sizes 500,5000,50000] [--draws 250]

A logistic hierarchy of 500 groups, 4 x `draws` draws, with everything that a run does by default. What is stored of
each row are a prediction and a term of the log likelihood in each draw. Memory is the peak of the largest process,
above that of the least size; the second run, with a warm compile cache, is measured.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import regression
from measure import Measured, bayesrun
from results import report

CHAINS = 4


def measure(rows: int, draws: int, folder: Path) -> Measured:
    """Run the model for one number of rows."""
    regression.ROWS = rows
    folder.mkdir()
    regression.write_large(folder / "large.csv")
    regression.write_config(folder, regression.LARGE, folder / "large.csv")
    flags = [f"sampler.{key}={value}" for key, value in {"chains": CHAINS, "draws": draws, "tune": draws}.items()]
    done = [
        bayesrun(folder / name, "--config-dir", str(folder), f"model={regression.LARGE}", *flags, "tracking=none")
        for name in ("warm", "outputs")
    ]
    return done[-1]


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="500,5000,50000", help="numbers of rows")
    parser.add_argument("--draws", type=int, default=250, help="of each chain, also of tuning")
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    with tempfile.TemporaryDirectory(prefix="bayesrun-rows-") as folder:
        found = [measure(size, given.draws, Path(folder) / str(size)) for size in sizes]
    rows = []
    for size, done in zip(sizes, found, strict=True):
        stored_mb = 2 * CHAINS * given.draws * size * 8 / 2**20
        above = done.peak_mb - found[0].peak_mb
        rows.append({"rows": size, "cpu_s": done.cpu_seconds, "stored_mb": stored_mb, "peak_mb": done.peak_mb})
        rows[-1] |= {"above_least_over_stored": above / stored_mb}
    report("rows", rows, {"chains": CHAINS, "draws": given.draws})


if __name__ == "__main__":
    main()
