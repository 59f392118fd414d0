"""What every bare script does around its sampling: arguments, the time of the first draw, and saving draws."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Sampler = Callable[[argparse.Namespace], Mapping[str, np.ndarray]]


def main(models: Mapping[str, Sampler]) -> None:
    """Sample one model and save its draws (chain, draw, ...) as `.npz`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=sorted(models))
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--tune", type=int, default=1000)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seed", type=int, default=8927)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    draws = models[arguments.model](arguments)
    if arguments.out:
        np.savez(arguments.out, **{name: np.asarray(values, "f4") for name, values in draws.items()})


def first_draw() -> None:
    """Say that the first draw has been made, and when."""
    print(f"FIRST_DRAW {time.time()}", flush=True)
