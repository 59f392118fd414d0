"""Time to the verdict and of the whole command beside a bare PyMC 6 script that only samples, with the bound of both.

python benchmarks/verdict.py [MODEL ...] [--repeats 3] [--setting sampler.draws=500]

The verdict counts from the start of the command until its line is printed: draws, findings and metrics are on disk by
then, and pictures are not. The commands of one model run in turn, bayesrun and PyMC, after one run of each with few
draws that warms every compile cache; medians. Processor seconds are those of the command and its children, at the
verdict of those that live then: on a busy machine they tell more than wall time.

The bound is what the same run takes to import, build, compile and sample, and nothing else (`bare/bound_script.py`):
no verdict can come before. The second `bayesrun.run` of a process, without figures and tracking, has its own time
beside compiling and sampling.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import psutil
from measure import BARE, ROOT, Failed, model_arguments, run
from peers import PYTHON, environment, versions
from results import report

MODELS = ("linear_regression", "switchpoint", "eight_schools", "glm_logistic")
GOALS = {"verdict / PyMC 6": 0.4, "whole / PyMC 6": 0.6, "own seconds of a second run": 0.3}
_TWICE = """
import json, sys, time
import bayesrun
for _ in range(3):
    began, cpu = time.perf_counter(), time.process_time()
    bare = ["tracking=none", "model.figures=[]", "report=false"]
    result = bayesrun.run(sys.argv[1], [*sys.argv[2:], *bare], quiet=True)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    done = result.metrics
    own = seconds - done["seconds_compile"] - done["seconds_sample"]
    print("RUN", json.dumps({"seconds": seconds, "own": own, "cpu": cpu}))
"""


def command(model: str, outputs: Path, settings: Sequence[str]) -> dict[str, float]:
    """Run bayesrun; return wall and processor seconds to its verdict and to its end."""
    words = [sys.executable, "-m", "bayesrun", f"model={model}", f"paths.outputs={outputs}", *settings]
    began = time.perf_counter()
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        found = {}
        for line in process.stdout:
            if line.startswith("verdict: "):
                found = {"verdict": time.perf_counter() - began, "verdict_cpu": _cpu_of(process.pid)}
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not found:
        raise Failed(" ".join(words))
    return {**found, "whole": time.perf_counter() - began, "whole_cpu": usage.ru_utime + usage.ru_stime}


def _cpu_of(pid: int) -> float:
    """Return the processor seconds of a process, of its living children, and of those that it has waited for."""
    total = 0.0
    own = psutil.Process(pid)
    for process in [own, *own.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def bare_script(model: str, draws: Sequence[str]) -> dict[str, float]:
    """Run the PyMC script; return its wall and processor seconds."""
    done = run([PYTHON, "-W", "ignore", BARE / "pymc_script.py", model, *draws])
    return {"pymc": done.seconds, "pymc_cpu": done.cpu_seconds}


def bound(model: str, settings: Sequence[str]) -> dict[str, float]:
    """Return wall and processor seconds of importing, building, compiling and sampling alone."""
    done = run([sys.executable, BARE / "bound_script.py", model, *settings])
    found = re.search(r"^COMPOSED (.*)$", done.output, re.MULTILINE)
    if found is None:
        raise Failed(f"bound_script.py {model}")
    composed = json.loads(found[1])
    return {"bound": done.seconds - composed["seconds"], "bound_cpu": done.cpu_seconds - composed["cpu"]}


def second_run(model: str, outputs: Path, settings: Sequence[str]) -> dict[str, float]:
    """Return wall and processor seconds of the second run of a process beside its compiling and sampling."""
    done = run([sys.executable, "-c", _TWICE, model, f"paths.outputs={outputs}", *settings])
    runs = [json.loads(found) for found in re.findall(r"^RUN (.*)$", done.output, re.MULTILINE)]
    return {"second_own": min(one["own"] for one in runs[1:]), "second_cpu": min(one["cpu"] for one in runs[1:])}


def row_of(model: str, repeats: int, folder: Path, settings: Sequence[str], peer: bool) -> dict[str, object]:
    """Measure one model."""
    few = ["sampler.draws=20", "sampler.tune=20"]
    draws = [part for word in settings for part in _as_flag(word)]
    command(model, folder, [*settings, *few])
    if peer:
        bare_script(model, ["--draws", "20", "--tune", "20"])
    taken = []
    for _ in range(repeats):
        own = {**command(model, folder, settings), **bound(model, settings)}
        taken.append({**own, **(bare_script(model, draws) if peer else {})})
    row = {name: median(one[name] for one in taken) for name in taken[0]}
    if peer:
        for part in ("bound", "verdict", "whole"):
            row[f"{part} / PyMC 6"] = row[part] / row["pymc"]
            row[f"{part} / PyMC 6 (cpu)"] = row[f"{part}_cpu"] / row["pymc_cpu"]
    return {"model": model, **row, **second_run(model, folder, settings)}


def _as_flag(word: str) -> list[str]:
    """Write a setting of bayesrun's sampler as a flag of the bare scripts."""
    key, _, value = word.partition("=")
    name = key.removeprefix("sampler.")
    return [f"--{name}", value] if name in ("draws", "tune", "chains", "cores") else []


def main() -> None:
    """Measure the models named on the command line, or all."""
    arguments = model_arguments(__doc__, MODELS)
    usable, failures = environment()
    peer = "pymc" in usable
    with tempfile.TemporaryDirectory(prefix="bayesrun-verdict-") as folder:
        rows = [
            row_of(model, arguments.repeats, Path(folder) / model, arguments.setting, peer)
            for model in arguments.models
        ]
    settings = {"repeats": arguments.repeats, "settings": arguments.setting, "goals": GOALS}
    report("verdict", rows, {**settings, "versions": versions() if peer else {}}, failures)


if __name__ == "__main__":
    main()
