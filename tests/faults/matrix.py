"""The matrix of faults and moments, and the cases that a seed draws from it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

MOMENTS = (
    "import",
    "compile",
    "tuning",
    "sampling",
    "storing",
    "diagnosis",
    "figures",
    "tracking",
    "sweep job",
    "end",
)
"""Parts of a run, in their order. `storing`: `posterior.nc` is written; `end`: the last files are."""

_SAMPLING = ("tuning", "sampling")
_AFTER = ("storing", "diagnosis", "figures", "tracking", "end")
_RUN = ("import", "compile", *_SAMPLING, *_AFTER)

FAULTS: dict[str, tuple[str, ...]] = {
    "kill -9 of the run": (*_RUN, "sweep job"),
    "kill -9 of a chain": _SAMPLING,
    "kill -9 of the tracker": ("compile", *_SAMPLING, *_AFTER),
    "SIGINT": (*_RUN, "sweep job"),
    "SIGTERM": (*_RUN, "sweep job"),
    "SIGHUP": (*_RUN, "sweep job"),
    "many signals": (*_RUN, "sweep job"),
    "terminal closed": (*_SAMPLING, *_AFTER),
    "power cut": (*_SAMPLING, *_AFTER, "sweep job"),
    "full disk": ("compile", *_SAMPLING, *_AFTER),
    "read-only disk": ("compile", *_SAMPLING, *_AFTER),
    "failing disk": (*_SAMPLING, *_AFTER),
    "outputs can't be written": ("import", "sweep job"),
    "tracking server": ("import", "sampling", "tracking", "sweep job"),
    "corrupt compile cache": ("compile",),
    "config that runs code": ("import", "sweep job", "end"),
    "secret": ("import", "sampling", "tracking", "sweep job"),
}
"""What may happen, and when."""


@dataclass(frozen=True)
class Case:
    """One fault at one moment; all that is left to choose follows from the seed.

    Parameters
    ----------
    seed, number
        The matrix's seed, and the case's number in it.
    fault, moment
        Entries of `FAULTS` and `MOMENTS`.
    """

    seed: int
    number: int
    fault: str
    moment: str

    def chance(self) -> random.Random:
        """Return the source of the case's choices."""
        return random.Random(f"{self.seed} {self.number} {self.fault} {self.moment}")

    def __str__(self) -> str:
        return f"{self.number:3d} {self.fault} / {self.moment}"


def deal(seed: int, count: int) -> list[Case]:
    """Draw cases: first such that each fault and each moment comes once, as soon as can be; then all pairs in turn."""
    pairs = _pairs(random.Random(seed))
    return [Case(seed, number, *next(pairs)) for number in range(count)]


def _pairs(chance: random.Random) -> Iterator[tuple[str, str]]:
    while True:
        left = [(fault, moment) for fault, moments in FAULTS.items() for moment in moments]
        chance.shuffle(left)
        faults, moments = set(FAULTS), set(MOMENTS)
        while left:
            best = max(left, key=lambda pair: (pair[0] in faults) + (pair[1] in moments))
            left.remove(best)
            faults.discard(best[0])
            moments.discard(best[1])
            yield best
