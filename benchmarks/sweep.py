"""A sweep of 16 prior settings beside 16 single commands.

python benchmarks/sweep.py [--settings 16]

No sweep can be faster than one without figures, report and tracking: that is its bound, measured beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from measure import bayesrun, run
from results import report

MODEL, KEY = "switchpoint", "model.priors.early_rate.lam"


def main() -> None:
    """Measure both, after one run that warms the compile cache and makes the tracking database."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=int, default=16)
    count = parser.parse_args().settings
    values = [0.25 * (index + 1) for index in range(count)]
    with tempfile.TemporaryDirectory(prefix="bayesrun-sweep-") as name:
        folder = Path(name)
        bayesrun(folder / "warm", f"model={MODEL}")
        # all go on with the database that the first run made, as a user's do
        outputs = folder / "warm"
        singles = [bayesrun(outputs, f"model={MODEL}", f"{KEY}={v}") for v in values]
        rows = [_row("single commands", sum(s.seconds for s in singles))]
        bare = ["model.figures=[]", "report=false", "tracking=none"]
        for what, launcher, more in (
            ("sweep, launcher=basic", "basic", []),
            ("sweep, launcher=parallel", "parallel", []),
            ("bound: launcher=parallel, no figures", "parallel", bare),
        ):
            swept = ",".join(map(str, values))
            command = [sys.executable, "-m", "bayesrun", "-m", f"model={MODEL}", f"{KEY}={swept}"]
            # `force`: those are done already
            done = run([*command, f"launcher={launcher}", "force=true", f"paths.outputs={outputs}", *more])
            rows.append(_row(what, done.seconds))
    for row in rows:
        row["over_singles"] = float(str(row["seconds"])) / float(str(rows[0]["seconds"]))
    report("sweep", rows, {"settings": count, "model": MODEL, "key": KEY})


def _row(what: str, seconds: float) -> dict[str, object]:
    return {"what": what, "seconds": seconds}


if __name__ == "__main__":
    main()
