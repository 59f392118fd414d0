"""Effective draws a second of whole commands: bayesrun, the tutorial's PyMC3 scripts, and peers on the same models.

python benchmarks/sample.py [MODEL ...] [--only bayesrun,pymc3,pymc,numpyro,stan] [--cold]

A whole command is everything from the shell's point of view: imports, compiling, warm-up, draws; for bayesrun also
diagnostics, figures and tracking. Compile caches are warm: each command runs once before it is measured, with few
draws. With `--cold` they are empty: what a command takes that sees its model for the first time. The worst
parameter's bulk ESS is that of all scalars of the posterior, computed by one ArviZ for all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from ess import worst_of_file, worst_of_run
from measure import Failed, Measured, bare, bayesrun, last_run
from peers import PYTHON, environment, versions
from results import report

MODELS = {
    "stochastic_volatility": {"draws": 1000, "tune": 1000, "chains": 4},
    "switchpoint": {"draws": 1000, "tune": 1000, "chains": 4},
    "eight_schools": {"draws": 1000, "tune": 1000, "chains": 4},
    "glm_logistic": {"draws": 1000, "tune": 1000, "chains": 4},
    "linear_regression": {"draws": 1000, "tune": 1000, "chains": 4},
    "garch_mean": {"draws": 1000, "tune": 1000, "chains": 4},
    "hmm": {"draws": 1000, "tune": 1000, "chains": 4},
}
# what each program calls the same parameters; what only one of them has is not compared
LEFT_OUT = ("volatility_process", "offset", "shrinkage")


def measure(model: str, program: str, settings: dict[str, int], folder: Path, cold: bool) -> dict[str, object]:
    """Measure one program on one model, and the worst ESS of its draws."""
    env = _empty_caches(folder) if cold else {}
    if not cold:
        _one(model, program, {**settings, "draws": 20, "tune": 20}, folder / "warm", env)
    measured, ess, name = _one(model, program, settings, folder / "measured", env)
    return {
        "model": model,
        "program": program,
        "seconds": measured.seconds,
        "cpu_seconds": measured.cpu_seconds,
        "peak_mb": measured.peak_mb,
        "worst_ess": ess,
        "worst_parameter": name,
        "ess_per_second": ess / measured.seconds,
    }


def _empty_caches(folder: Path) -> dict[str, str]:
    """Return where every program's compiler keeps what it has compiled: Theano, PyTensor, Numba, httpstan."""
    return {
        "THEANO_FLAGS": f"base_compiledir={folder / 'theano'}",
        "PYTENSOR_FLAGS": f"base_compiledir={folder / 'pytensor'}",
        "NUMBA_CACHE_DIR": str(folder / "numba"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def _one(
    model: str, program: str, settings: dict[str, int], folder: Path, env: dict[str, str]
) -> tuple[Measured, float, str]:
    folder.mkdir(parents=True)
    if program == "bayesrun":
        overrides = [f"model={model}", *[f"sampler.{key}={value}" for key, value in settings.items()]]
        outputs = folder.parent / "outputs"  # the warm-up makes the tracking database
        measured = bayesrun(outputs, *overrides, env=env)
        return measured, *worst_of_run(last_run(outputs), LEFT_OUT)
    python = sys.executable if program == "pymc3" else PYTHON
    out = folder / "draws.npz"
    flags = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    measured = bare(python, f"{program}_script.py", model, *flags, "--out", str(out), env=env)
    return measured, *worst_of_file(out)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=[*MODELS])
    parser.add_argument("--only", default="bayesrun,pymc3,pymc,numpyro,stan")
    parser.add_argument("--cold", action="store_true", help="with empty compile caches")
    arguments = parser.parse_args()
    peers, failures = environment()
    wanted = [p for p in arguments.only.split(",") if p in ("bayesrun", "pymc3") or p in peers]
    for model in arguments.models:
        rows, failed = [], list(failures)
        for program in wanted:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    rows.append(measure(model, program, MODELS[model], Path(folder), arguments.cold))
                    print(f"{model} {program}: {rows[-1]['seconds']:.1f} s", file=sys.stderr)
            except Failed as error:
                failed.append(f"{program} on {model}: {str(error).splitlines()[-1]}")
        settings = {**MODELS[model], "cold": arguments.cold, "peers": versions() if peers else {}}
        report(f"sample_{model}{'_cold' if arguments.cold else ''}", _with_ratios(rows), settings, failed)


def _with_ratios(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    ours = next((row for row in rows if row["program"] == "bayesrun"), None)
    for row in rows:
        row["ours_times"] = np.nan if ours is None else ours["ess_per_second"] / row["ess_per_second"]  # type: ignore[operator]
        row["our_time_over"] = np.nan if ours is None else ours["seconds"] / row["seconds"]  # type: ignore[operator]
    return rows


if __name__ == "__main__":
    main()
