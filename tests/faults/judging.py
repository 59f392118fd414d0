"""What is left after a fault: the draws against those of a clean run, the files, secrets, and planted code."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayesrun.samplers.chains import most_draws
from bayesrun.samplers.draw_store import read_draws
from tests.faults.matrix import Case

WHOLE = (
    "posterior.nc",
    "summary.csv",
    "findings.json",
    "metrics.json",
    "status.json",
    "config.yaml",
    "provenance.json",
)
SECONDS_BEHIND, DRAWS_BEHIND = 5.0, 1000
"""What may be missing on disk after a kill: the smaller of the two, as documented."""
Draws = Mapping[str, np.ndarray[Any, Any]]
_READING = threading.Lock()  # HDF5 is not made for threads


@dataclass
class Outcome:
    """What became of a case.

    Parameters
    ----------
    case
        Which.
    wrong
        What is not as it should be; empty where the case is survived.
    draws_lost
        Draws that had been made, and are neither kept nor within what may be missing; or that are not the clean run's.
    secrets, code
        Where a secret stands, and what planted code left.
    happened
        What was done, in words.
    missed
        Whether the command had ended before the moment came.
    """

    case: Case
    wrong: list[str] = field(default_factory=list)
    draws_lost: int = 0
    secrets: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    happened: str = ""
    missed: bool = False
    seconds: float = 0.0

    @property
    def survived(self) -> bool:
        return not (self.wrong or self.draws_lost or self.secrets or self.code)

    def __str__(self) -> str:
        found = [*self.wrong, *([f"{self.draws_lost} draws lost"] if self.draws_lost else [])]
        found += [*(f"secret in {place}" for place in self.secrets), *(f"code: {mark}" for mark in self.code)]
        state = "survived" if self.survived else "FAILED"
        return f"{self.case} [{self.happened}] {state} {self.seconds:.0f} s" + "".join(
            f"\n      {one}" for one in found
        )


def posterior(folder: Path) -> Draws:
    """Read the draws (chain, draw, ...) of each variable of `posterior.nc`."""
    with _READING, xr.open_dataset(folder / "posterior.nc", group="posterior") as dataset:
        return {str(name): array.values for name, array in dataset.data_vars.items()}


def shape_of(draws: Draws) -> tuple[int, int]:
    """Return the chains and their length; none where there are no draws."""
    return next(iter(draws.values())).shape[:2] if draws else (0, 0)


def stored_draws(folder: Path) -> dict[int, int]:
    """Return how many draws of each chain are in the run folder's store."""
    stored = read_draws(folder / "draws")
    return {} if stored is None else {n: len(next(iter(columns.values()))) for n, (columns, _) in stored.chains.items()}


def kept_at_least(stored: Mapping[int, int]) -> int:
    """Return how many draws can be kept of chains of unequal length, which are cut to one."""
    if not any(stored.values()):
        return 0
    chains, length = most_draws(stored)
    return len(chains) * length


def may_be_behind(told: Sequence[tuple[float, int]], tuning: int, at: float) -> int:
    """Return how many draws must be on disk at a time, going by what the command itself had told of its progress."""
    now = max((draws for when, draws in told if when <= at), default=0) - tuning
    before = max((draws for when, draws in told if when <= at - SECONDS_BEHIND), default=0) - tuning
    return max(0, min(before, now - DRAWS_BEHIND))


def draws_unlike(kept: Draws, clean: Draws) -> int:
    """Count kept draws that the same chain of a clean run did not draw; chains of a shorter list are found by value."""
    chains, length = shape_of(kept)
    total, longest = shape_of(clean)
    wrong = chains * max(0, length - longest)
    length = min(length, longest)
    for chain in range(chains):
        equal = [
            np.all([_equal(kept[name][chain, :length], clean[name][other, :length]) for name in clean], axis=0)
            for other in range(total)
        ]
        wrong += min(length - int(found.sum()) for found in equal)
    return wrong


def _equal(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Compare draws; large variables are stored as float32."""
    kind = "float32" if "float32" in (one.dtype, other.dtype) else one.dtype
    same = one.astype(kind) == other.astype(kind)
    return same.reshape(len(same), -1).all(axis=1)


def status_of(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "status.json").read_text())["status"])
    except (OSError, ValueError, KeyError):
        return None


def missing_files(folder: Path) -> list[str]:
    return [name for name in WHOLE if not (folder / name).is_file() or not (folder / name).stat().st_size]


def still_running(database: Path, seconds: float = 30.0) -> int:
    """Return how many runs an MLflow database still says are running, after some patience."""
    end = time.monotonic() + seconds
    while True:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
            try:
                (count,) = connection.execute("select count(*) from runs where status = 'RUNNING'").fetchone()
            except sqlite3.Error:
                count = -1
        if count == 0 or time.monotonic() > end:
            return int(count)
        time.sleep(0.3)


def secrets_in(words: Iterable[str], folders: Iterable[Path], *output: str) -> list[str]:
    """Return where one of some words stands: in a file, its name, or what a command printed."""
    wanted = [word.encode() for word in words]
    found = [f"output {index}" for index, text in enumerate(output) if any(word in text.encode() for word in wanted)]
    for path in (path for folder in folders for path in folder.rglob("*")):
        content = str(path).encode() + (path.read_bytes() if path.is_file() else b"")
        if any(word in content for word in wanted):
            found.append(str(path))
    return found
