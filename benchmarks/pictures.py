"""What a run's figures cost: drawn with nothing else, beside the whole command and the same command without pictures.

python benchmarks/pictures.py [MODEL ...] [--repeats 3] [--setting sampler.draws=500]

The figures of a finished run are drawn again by a process that does nothing else and has all imports done: by itself
(processor seconds), and by two forked processes (wall time). The whole command can't be shorter than the one without
figures and report, and what both processors need for the figures that show predictions. Processor seconds are those of
the command and its children: on a busy machine they tell more than wall time.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from measure import bayesrun, last_run, model_arguments, run
from results import report

MODELS = ("linear_regression", "switchpoint", "eight_schools", "glm_logistic")
WITHOUT = ("model.figures=[]", "report=false")
_DRAW = """
import json, sys, time
from pathlib import Path
import pandas as pd
from bayesrun.figures.base import Subject
from bayesrun.figures.drawing import draw_all
from bayesrun.finished_run import read_posterior
from bayesrun.open_run import read_config
folder, into = Path(sys.argv[1]), Path(sys.argv[2])
config = read_config(folder)
model, idata = config["model"], read_posterior(folder)
for group in idata.groups():
    idata[group].load()
subject = Subject(idata, pd.read_csv(folder / "summary.csv", index_col="name"), model, config["intervals"])
draw_all(model["figures"][:1], subject, into)
cpu = time.process_time()
drawn, _ = draw_all(model["figures"], subject, into)
cpu = time.process_time() - cpu
wall = time.perf_counter()
draw_all(model["figures"], subject, into, 2)
print(json.dumps({"figures": len(drawn), "cpu": cpu, "wall": time.perf_counter() - wall}))
"""


def row_of(model: str, folder: Path, settings: list[str], repeats: int) -> dict[str, object]:
    """Measure one model."""
    bayesrun(folder, f"model={model}", *settings, "sampler.draws=20", "sampler.tune=20")
    taken = []
    for _ in range(repeats):
        whole = bayesrun(folder, f"model={model}", *settings)
        drawn = run([sys.executable, "-c", _DRAW, last_run(folder), folder / "again"])
        alone = json.loads(drawn.output.strip().splitlines()[-1])
        without = bayesrun(folder, f"model={model}", *settings, *WITHOUT)
        taken.append(
            {
                "figures": alone["figures"],
                "drawn_alone_cpu": alone["cpu"],
                "drawn_by_two": alone["wall"],
                "without": without.seconds,
                "without_cpu": without.cpu_seconds,
                "whole": whole.seconds,
                "whole_cpu": whole.cpu_seconds,
            }
        )
    return {"model": model, **{name: median(one[name] for one in taken) for name in taken[0]}}


def main() -> None:
    """Measure the models named on the command line, or all."""
    arguments = model_arguments(__doc__, MODELS)
    with tempfile.TemporaryDirectory(prefix="bayesrun-pictures-") as folder:
        rows = [row_of(model, Path(folder) / model, arguments.setting, arguments.repeats) for model in arguments.models]
    report("pictures", rows, {"repeats": arguments.repeats, "settings": arguments.setting})


if __name__ == "__main__":
    main()
