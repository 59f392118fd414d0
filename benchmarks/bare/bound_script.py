"""What no command of bayesrun can be faster than: imports, building, compiling and sampling alone, nothing kept.

python benchmarks/bare/bound_script.py MODEL [OVERRIDE ...]

Prints `COMPOSED {"seconds": ..., "cpu": ...}`, what it took to read the config: the bound is the process without it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bayesrun.garbage import collect_rarely


def main() -> None:
    """Sample a model as a command does, and end."""
    collect_rarely()
    from bayesrun.config.compose import compose
    from bayesrun.config.hydra_internals import command_line
    from bayesrun.config.resolvers import conf, register_resolvers
    from bayesrun.config.run_config import parse_config
    from bayesrun.pipeline import prepare
    from bayesrun.samplers.base import SAMPLERS
    from bayesrun.samplers.draw_store import DrawStore
    from bayesrun.samplers.monitors import MonitorGroup

    began, cpu = time.perf_counter(), time.process_time()
    register_resolvers()
    words = [f"model={sys.argv[1]}", "tracking=none", *sys.argv[2:]]
    config = parse_config(compose(command_line().parse_intermixed_args(words), conf()).config)
    composed = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    prepared = prepare(config)
    sampler = SAMPLERS.load(config.sampler.method, "sampler.method")
    with tempfile.TemporaryDirectory(prefix="bayesrun-bound-") as folder:
        store = (DrawStore(Path(folder) / "draws"),) if sampler.keeps_draws else ()
        sampler.sample(prepared.model, config.sampler, config.top.seed, MonitorGroup([]), *store)
    print("COMPOSED", json.dumps(composed), flush=True)
    os._exit(0)  # as the command ends


if __name__ == "__main__":
    main()
