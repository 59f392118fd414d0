"""`report.html`: processor time to make it and its size, beside the whole command that it belongs to.

python benchmarks/report.py [MODEL ...]

The command runs as it does by default. The page is then made again from its folder, three times in one process whose
imports are done, as at the end of a run; the median counts. Processor time, not wall time: a loaded machine changes it
little.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from measure import bayesrun, last_run, run
from results import report

MODELS = ("linear_regression", "switchpoint", "varying_intercepts", "stochastic_volatility")
GOAL = {"seconds": 0.3, "megabytes": 3.0}
_MAKE = """
import json, sys, time
from pathlib import Path
import arviz, pandas, xarray
from bayesrun.report.run_page import write_report
from bayesrun.run_folder import RunFolder
times = []
for _ in range(3):
    began = time.process_time()
    page = write_report(RunFolder(Path(sys.argv[1])))
    times.append(time.process_time() - began)
print(json.dumps({"first": times[0], "median": sorted(times)[1], "bytes": page.stat().st_size}))
"""


def row_of(model: str, folder: Path, settings: list[str]) -> dict[str, object]:
    """Run a model, make its page again, and return what both took."""
    whole = bayesrun(folder / model, f"model={model}", *settings)
    made = json.loads(run([sys.executable, "-c", _MAKE, last_run(folder / model)]).output.strip().splitlines()[-1])
    return {
        "model": model,
        "cpu_seconds": made["median"],
        "first_cpu_seconds": made["first"],
        "whole_cpu_seconds": whole.cpu_seconds,
        "ratio": made["median"] / whole.cpu_seconds,
        "megabytes": made["bytes"] / 1e6,
        "within_goal": made["median"] <= GOAL["seconds"] and made["bytes"] / 1e6 <= GOAL["megabytes"],
    }


def main() -> None:
    """Measure the models named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument(
        "--setting", action="append", default=[], help="an override of the command, such as sampler.draws=500"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bayesrun-report-") as folder:
        rows = [row_of(model, Path(folder), arguments.setting) for model in arguments.models]
    report("report", rows, {"goal": GOAL, "settings": arguments.setting})


if __name__ == "__main__":
    main()
