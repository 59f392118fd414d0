"""What a later `bayesrun.run` of a process spends, step by step, without figures and tracking.

python benchmarks/second_run.py [MODEL ...] [--repeats 10]

Processor seconds of this process, which a busy machine changes least, and wall seconds; means of the runs after the
first. Steps are inside of each other where they are indented, and files are written in many of them. Beside compiling
and sampling, no run can leave out that its draws are written once: that is the bound of its own time.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from results import report

import bayesrun

MODELS = ("linear_regression", "switchpoint", "eight_schools", "glm_logistic")
GOAL = 0.3
STEPS = {
    "bayesrun.api.calls:compose": "compose",
    "bayesrun.composed_run:parse_config": "parse the config",
    "bayesrun.pipeline:prepare": "prepare",
    "bayesrun.pipeline:compiled": "  build the model",
    "bayesrun.pipeline:_sample": "sample",
    "bayesrun.pipeline:_keep_draws": "write the draws",
    "bayesrun.pipeline:_posterior": "predict",
    "bayesrun.pipeline:_diagnose": "diagnose",
    "bayesrun.predict.loo_repair:repair_loo": "  repair LOO",
    "bayesrun.pipeline:judge": "  checks",
    "bayesrun.pipeline:_store": "write posterior.nc (both times)",
    "bayesrun.pipeline:write_model": "write MLflow's model",
    "bayesrun.pipeline:draw_pictures": "draw the graph",
    "bayesrun.open_run:provenance": "provenance",
    "bayesrun.run_folder:write_whole": "all files",
    "os:fsync": "  waiting for the disk",
}
Spent = dict[str, list[float]]


def watch(spent: Spent) -> None:
    """Let each step add its calls, wall and processor seconds."""
    for place, step in STEPS.items():
        module, _, name = place.partition(":")
        home = importlib.import_module(module)
        setattr(home, name, _watched(getattr(home, name), spent[step]))


def _watched(function: Callable[..., Any], sums: list[float]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        began, cpu = time.perf_counter(), time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            sums[0] += 1
            sums[1] += time.perf_counter() - began
            sums[2] += time.process_time() - cpu

    return call


def rows_of(model: str, repeats: int, folder: str) -> list[dict[str, object]]:
    """Measure the runs of one model, in a process of their own."""
    bare = ["tracking=none", "model.figures=[]", "report=false", f"paths.outputs={folder}"]
    bayesrun.run(model, bare, quiet=True)
    spent: Spent = defaultdict(lambda: [0.0, 0.0, 0.0])
    watch(spent)
    whole, draws = spent["whole run"], spent["write the draws"]
    inevitable = 0.0
    for _ in range(repeats):
        metrics = _watched(lambda: bayesrun.run(model, bare, quiet=True).metrics, whole)()
        inevitable += metrics["seconds_compile"] + metrics["seconds_sample"]
    spent["own: beside compiling and sampling"] = [whole[0], whole[1] - inevitable, whole[2]]
    spent["of it the bound: the draws on the disk"] = list(draws)
    return [
        {"model": model, "step": step, "calls": n / repeats, "wall": wall / repeats, "cpu": cpu / repeats}
        for step, (n, wall, cpu) in spent.items()
    ]


def main() -> None:
    """Measure the models named on the command line, or all; each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    for model in arguments.models:
        rows += _apart(model, arguments.repeats)
    report("second_run", rows, {"repeats": arguments.repeats, "goals": {"own": GOAL}})


def _apart(model: str, repeats: int) -> list[dict[str, object]]:
    """Measure in another process: the watched functions and the caches of one model are not those of the next."""
    # no `Pool`: its processes may not have children, so that all chains would run in this one
    alone = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with tempfile.TemporaryDirectory(prefix="bayesrun-second-") as folder, alone as pool:
        return pool.submit(rows_of, model, repeats, folder).result()


if __name__ == "__main__":
    main()
