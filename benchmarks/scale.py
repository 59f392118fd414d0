"""How time and memory of a run grow with the number of parameters, at 1,000 draws.

python benchmarks/scale.py [--sizes 10,2500,5000,10000]

The model is as cheap to sample as can be (independent Normals), so that what is measured is diagnosing, writing and
tracking. Memory is the peak of the largest process, above that of the least size, as a multiple of the draws.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from measure import ROOT, Measured, last_run, run
from results import report

DRAWS = {"chains": 2, "draws": 500, "tune": 200}
MODEL = """
defaults: [{{/data@_global_.data: eight_schools}}, _self_]
name: wide
type: declarative
priors: {{x: {{dist: Normal, mu: 0, sigma: 1, shape: {size}}}}}
likelihood: {{y: {{dist: Normal, mu: "x[0]", sigma: stderr, observed: effect}}}}
figures: []
"""


def measure(size: int, folder: Path) -> tuple[Measured, dict[str, float]]:
    """Run the model of one size; the second run, with a warm compile cache, is measured."""
    (folder / "conf" / "model").mkdir(parents=True)
    (folder / "conf" / "model" / "wide.yaml").write_text(MODEL.format(size=size))
    for outputs in (folder / "warm", folder / "outputs"):
        command = [ROOT / ".venv" / "bin" / "python", "-m", "bayesrun", "--config-dir", folder / "conf", "model=wide"]
        settings = [f"sampler.{key}={value}" for key, value in DRAWS.items()]
        measured = run([*command, *settings, f"paths.outputs={outputs}"])
    return measured, json.loads((last_run(folder / "outputs") / "metrics.json").read_text())


def row_of(size: int, measured: Measured, metrics: dict[str, float], base: Measured) -> dict[str, object]:
    """Set one size beside the least."""
    draws_mb = DRAWS["chains"] * DRAWS["draws"] * size * 8 / 2**20
    own = measured.seconds - metrics["seconds_compile"] - metrics["seconds_sample"]
    return {
        "parameters": size,
        "whole": measured.seconds,
        "sample": metrics["seconds_sample"],
        "own": own,
        "own_per_1000": 1000 * own / size,
        "draws_mb": draws_mb,
        "peak_mb": measured.peak_mb,
        "above_base_over_draws": (measured.peak_mb - base.peak_mb) / draws_mb,
    }


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10,2500,5000,10000")
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    with tempfile.TemporaryDirectory(prefix="bayesrun-scale-") as folder:
        found = [measure(size, Path(folder) / str(size)) for size in sizes]
    rows = [row_of(size, *pair, found[0][0]) for size, pair in zip(sizes, found, strict=True)]
    report("scale", rows, {**DRAWS, "goal_memory_over_draws": 3.0})


if __name__ == "__main__":
    main()
