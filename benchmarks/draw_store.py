"""What it costs to keep draws on disk while a run samples: with and without the store, in turn in one process.

python benchmarks/draw_store.py [MODEL ...] [--repeats 7] [--engine nutpie]

Times are those of sampling alone: forking the chains, warm-up, draws. The ratio is that of the least times of all
rounds, since what differs from round to round is the rest of the machine; that of the medians is beside it. Processor
seconds are those of the chains' processes.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import ROOT
from results import report

sys.path.insert(0, str(ROOT))

MODELS = {"eight_schools": 20_000, "stochastic_volatility": 1_500}
"""Draws per chain, for some seconds of sampling: a store that is never due costs nothing."""


class _Nobody:
    def begin(self) -> None:
        pass

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        pass


def seconds(config: Any, model: Any, folder: Path | None) -> tuple[float, float]:
    """Sample once; return wall and processor seconds."""
    from bayesrun.samplers.draw_store import DrawStore
    from bayesrun.samplers.nuts import sample

    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    sampled = sample(model, config.sampler, config.top.seed, _Nobody(), DrawStore(folder))
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    if folder is not None:
        shutil.rmtree(folder)
    return sampled.seconds_sample, ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime


def row_of(name: str, draws: int, engine: str, repeats: int, folder: Path) -> dict[str, object]:
    """Measure one model both ways."""
    from bayesrun.pipeline import prepare
    from tests.composing import parsed

    own = [f"sampler.engine={engine}", f"sampler.draws={draws}", "sampler.target_accept=0.9"]
    config = parsed(f"model={name}", *own)
    model = prepare(config).model
    found: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    for _ in range(repeats + 1):  # the first round does not count
        for way, times in found.items():
            times.append(seconds(config, model, folder / "draws" if way == "with" else None))
    wall = {way: [w for w, _ in times[1:]] for way, times in found.items()}
    cpu = {way: [c for _, c in times[1:]] for way, times in found.items()}
    return {
        "model": name,
        "without": min(wall["without"]),
        "with": min(wall["with"]),
        "ratio": min(wall["with"]) / min(wall["without"]),
        "ratio_of_medians": statistics.median(wall["with"]) / statistics.median(wall["without"]),
        "ratio_of_cpu": min(cpu["with"]) / min(cpu["without"]),
    }


def main() -> None:
    """Measure the models that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--engine", default="nutpie")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [row_of(m, MODELS[m], arguments.engine, arguments.repeats, Path(folder)) for m in arguments.models]
    report("draw_store", rows, {"draws": MODELS, **vars(arguments)})


if __name__ == "__main__":
    main()
