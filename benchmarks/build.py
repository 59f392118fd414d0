"""Building and compiling a declarative model beside the same model of a builder in Python.

python benchmarks/build.py [--repeats 15]

Both are built from their shipped YAML and the same data, and their log density and gradient are compiled, in turn in
one process. C modules are in Theano's cache after the first round, which does not count; the functions that a process
keeps are dropped before each. Times are the least processor times of the rounds: the
work is the same in each, and what differs is the rest of the machine and garbage collection, which is off.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from typing import Any

from measure import ROOT
from results import report

sys.path.insert(0, str(ROOT))

# the declarative ones are centred, and have the discrete variables of the compound form
FORMS = {
    "linear_regression": (),
    "switchpoint": ("model.options.form=compound",),
    "stochastic_volatility": ("model.options.form=whitened",),
}


def config_of(*overrides: str) -> Any:
    """Parse a composed config."""
    from tests.composing import parsed

    return parsed(*overrides)


def seconds(config: Any, data: Any) -> float:
    """Build a model and compile what sampling it needs."""
    from bayesrun.engines.pymc3.build import build
    from bayesrun.engines.pymc3.compiled_functions import forget
    from bayesrun.engines.pymc3.model import PyMC3Model
    from bayesrun.engines.pymc3.theano_setup import compiling

    forget()
    gc.collect()
    gc.disable()
    began = time.process_time()
    model = build(config.model_type.build(data, config.model))
    if model.disc_vars:
        with compiling():
            model.logp_dlogp_function([v for v in model.free_RVs if v.dtype == "float64"])
    else:
        PyMC3Model(model).log_density()
    gc.enable()
    return time.process_time() - began


def row_of(name: str, repeats: int) -> dict[str, object]:
    """Measure one model both ways."""
    from bayesrun.pipeline import load_data

    found: dict[str, list[float]] = {"builder": [], "declarative": []}
    configs = {
        "builder": config_of(f"model={name}", *FORMS[name]),
        "declarative": config_of(f"model=declarative/{name}"),
    }
    data = {way: load_data(config)[0] for way, config in configs.items()}
    for _ in range(repeats + 1):
        for way, config in configs.items():
            found[way].append(seconds(config, data[way]))
    builder, declarative = (min(found[way][1:]) for way in ("builder", "declarative"))
    return {"model": name, "builder": builder, "declarative": declarative, "ratio": declarative / builder}


def main() -> None:
    """Measure every model that exists in both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    from bayesrun.engines.pymc3.theano_setup import import_pymc3

    import_pymc3()
    report("build", [row_of(name, repeats) for name in FORMS], {"repeats": repeats, "goal_ratio": 1.1})


if __name__ == "__main__":
    main()
