"""Regressions with group effects: whole commands beside Bambi on PyMC 6 with nutpie; cold and warm caches.

python benchmarks/regression.py [CASE ...] [--repeats 2] [--draws 1000]

bayesrun does all that it does by default (predictions, checks, figures, tracking); Bambi only fits. Both run in turn.
"Cold" is an empty compile cache of their own (Theano's; PyTensor's and Numba's), "warm" the runs after it. Memory is
the peak above that of the same program's smallest case, as a multiple of the data (float64 columns).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import yaml
from measure import ROOT, Failed, Measured, bare, bayesrun
from peers import PYTHON, environment, versions
from results import report

TABLES = ROOT / "tests" / "reference"
LARGE = "logistic"
ROWS, GROUPS = 50_000, 500


@dataclass(frozen=True)
class Case:
    """A regression as both programs write it."""

    table: str
    ours: str
    theirs: str
    family: str = "normal"
    their_family: str = "gaussian"


SLEEP = "Reaction ~ Days + (Days | Subject)"
RADON = "log_radon ~ floor + (floor | county)"
LOGISTIC = "y ~ x1 + x2 + (1 | g)"
CASES: Mapping[str, Case] = {
    "sleepstudy": Case("data/sleepstudy.csv", SLEEP, SLEEP),
    "radon": Case("published/radon.csv", RADON, RADON),
    "cbpp": Case(
        "data/cbpp.csv",
        "incidence | trials(size) ~ C(period) + (1 | herd)",
        "p(incidence, size) ~ C(period) + (1 | herd)",
        "binomial",
        "binomial",
    ),
    LARGE: Case("", LOGISTIC, LOGISTIC, "bernoulli", "bernoulli"),
}


def write_large(path: Path) -> float:
    """Simulate a logistic hierarchy; return the size of its columns in MB."""
    rng = np.random.default_rng(8927)
    group, x = rng.integers(GROUPS, size=ROWS), rng.normal(size=(ROWS, 2))
    eta = -0.5 + x @ [0.8, -0.4] + rng.normal(0, 0.7, GROUPS)[group]
    y = rng.random(ROWS) < 1 / (1 + np.exp(-eta))
    columns = np.column_stack([y, x, group])
    np.savetxt(path, columns, "%g", ",", header="y,x1,x2,g", comments="")
    return columns.nbytes / 2**20


def write_config(folder: Path, name: str, table: Path) -> None:
    """Write a case as a model and a data set of bayesrun."""
    case = CASES[name]
    model = {"defaults": [{"/data@_global_.data": name}, "_self_"], "name": name, "type": "regression"}
    contents = {
        "model": {**model, "formula": case.ours, "family": case.family},
        "data": {"name": name, "source": "csv", "path": str(table)},
    }
    for group, content in contents.items():
        (folder / group).mkdir(parents=True, exist_ok=True)
        (folder / group / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def measure(name: str, program: str, table: Path, folder: Path, settings: Mapping[str, int]) -> Measured:
    """Run one case by one program."""
    cache = folder / f"cache_{name}_{program}"
    if program == "bayesrun":
        flags = [f"sampler.{key}={value}" for key, value in settings.items()]
        env = {"THEANO_FLAGS": f"base_compiledir={cache}"}
        return bayesrun(folder / f"runs_{name}", "--config-dir", str(folder), f"model={name}", *flags, env=env)
    case = CASES[name]
    flags = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    env = {"PYTENSOR_FLAGS": f"base_compiledir={cache}", "NUMBA_CACHE_DIR": str(cache / "numba")}
    return bare(PYTHON, "bambi_script.py", str(table), case.theirs, case.their_family, *flags, env=env)


def rows_of(
    name: str, folder: Path, programs: list[str], repeats: int, settings: Mapping[str, int]
) -> list[dict[str, object]]:
    """Measure the programs cold once and warm `repeats` times, in turn."""
    table = folder / "large.csv" if name == LARGE else TABLES / CASES[name].table
    write_config(folder, name, table)
    found: dict[tuple[str, str], list[Measured]] = {}
    for index in range(repeats + 1):
        for program in programs:
            done = measure(name, program, table, folder, settings)
            found.setdefault(("cold" if index == 0 else "warm", program), []).append(done)
            print(
                f"{name} {program} {index}: {done.seconds:.1f} s, {done.cpu_seconds:.1f} s of processor time",
                flush=True,
            )
    return [_row(name, cache, {p: found[cache, p] for p in programs}) for cache in ("cold", "warm")]


def _row(name: str, cache: str, of: Mapping[str, list[Measured]]) -> dict[str, object]:
    row: dict[str, object] = {"case": name, "cache": cache}
    for program, runs in of.items():
        row[f"{program}_s"] = median(run.seconds for run in runs)
        row[f"{program}_cpu_s"] = median(run.cpu_seconds for run in runs)
        row[f"{program}_mb"] = max(run.peak_mb for run in runs)
    if "bambi" in of:
        ours, theirs = of["bayesrun"], of["bambi"]
        row["ratio"] = median(a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True))
        row["cpu_ratio"] = median(a.cpu_seconds / b.cpu_seconds for a, b in zip(ours, theirs, strict=True))
    return row


def main() -> None:
    """Measure the cases named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--repeats", type=int, default=2, help="warm runs of each program")
    parser.add_argument("--draws", type=int, default=1000, help="also of tuning")
    given = parser.parse_args()
    settings = {"draws": given.draws, "tune": given.draws, "chains": 4, "cores": 2}
    peers, failures = environment()
    programs = ["bayesrun", *(["bambi"] if "bambi" in peers else [])]
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="bayesrun-regression-") as name:
        folder = Path(name)
        data_mb = write_large(folder / "large.csv")
        for case in given.cases:
            try:
                rows += rows_of(case, folder, programs, given.repeats, settings)
            except Failed as error:
                failures.append(f"{case}: {str(error).splitlines()[-1]}")
    for program in programs:
        least = min((float(str(row[f"{program}_mb"])) for row in rows), default=0.0)
        for row in rows:
            over = (float(str(row[f"{program}_mb"])) - least) / data_mb
            row[f"{program}_memory_over_data"] = over if row["case"] == LARGE else "-"
    report("regression", rows, {**settings, "repeats": given.repeats, "data_mb": data_mb, **versions()}, failures)


if __name__ == "__main__":
    sys.exit(main())
