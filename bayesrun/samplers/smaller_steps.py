"""When a chain of NUTS takes smaller steps: after a few divergences late in its warm-up, or among its kept draws.

A chain decides by itself, at fixed numbers of draws, so that its draws depend on its seed alone. Its draws before a
change become further warm-up: the chain goes on from where it is, in steps of half the size, to its full number of
draws, all of one step size. Chains without divergences keep theirs.

Choosing between two sets of draws by what one of them did selects, as sampling a whole run again does. The selection is
bounded: with `D` the event that a chain changes after warm-up and `f` the mean of its draws, the bias of its mean is at
most `|Cov(D, f)| <= sd(f) / 2`, half of the Monte Carlo error of that chain. Changes at the end of warm-up select
nothing.

Steps of half the size have the acceptance of `target_accept` 0.95 where full ones had 0.8: in many dimensions the mean
acceptance of steps of size `e` is `2 Phi(-c e^2)` (Beskos et al. 2013, doi:10.3150/12-BEJ414).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bayesrun.samplers.base import NutsSpec

FACTOR = 0.5
"""Of the step size, at each change."""
MAX_CHANGES = 1
"""Changes of a chain, at most: the verdict tells what still diverges. A second one would select among chains of smaller
steps, too, and hide their divergences: a funnel of sd 1.5 and 4 dimensions is then `ok` in 97% of the runs, not 70%."""
SETTLING = 20
"""Draws after a change that belong to warm-up, too."""
_FEW, _FEW_SHARE = 1, 0.01
_EVERY = 50


class StepChange(NamedTuple):
    """One change of a chain's steps: the kept draws that became warm-up, and the divergences seen by then."""

    draws: int
    diverged: int


Changes = Mapping[int, Sequence[StepChange]]
"""The changes of each chain that has any, in their order."""


def as_changes(plain: Mapping[Any, Sequence[Sequence[int]]]) -> Changes:
    """Return the changes that plain values hold, as JSON has them."""
    return {int(chain): [StepChange(*one) for one in own] for chain, own in plain.items()}


def may_shrink(spec: NutsSpec) -> bool:
    """Whether the step size is bayesrun's to choose: the user left `init` and `target_accept` as they are."""
    return spec.init == "auto" and spec.target_accept == NutsSpec.model_fields["target_accept"].default


def decisions(draws: int) -> frozenset[int]:
    """Return the numbers of kept draws after which a chain decides: none (the end of warm-up), now and then, all."""
    kept, found = 0, {draws}
    while kept < draws:
        found.add(kept)
        kept += max(_EVERY, kept // 10)
    return frozenset(found)


def observed_from(tune: int) -> int:
    """Return the tuning draw from which on divergences count: earlier steps are those of a search."""
    return tune // 2


def few(diverged: int, observed: int) -> bool:
    """Whether some draws diverged, but few.

    Many divergences come from the model's form, which no step size fixes.

    Parameters
    ----------
    diverged, observed
        Divergences, and draws among which they are.
    """
    return 0 < diverged <= _FEW + _FEW_SHARE * observed


@dataclass
class StepControl:
    """What a chain has seen of divergences, and the changes that it has made.

    Parameters
    ----------
    at
        Kept draws after which it decides; empty where it never does.
    repeated
        Changes of an earlier run that is made longer: they are made again, and no others.
    changes
        Those made so far.
    diverged, observed
        Divergences, and draws among which they are, since `observed_from` or the last change.
    new
        Divergences since the last decision.
    """

    at: frozenset[int] = frozenset()
    repeated: Sequence[StepChange] = ()
    changes: list[StepChange] = field(default_factory=list)
    diverged: int = 0
    observed: int = 0
    new: int = 0

    @classmethod
    def of(cls, spec: NutsSpec, chain: int, repeated: Changes | None) -> StepControl:
        """Begin a chain; `repeated`: the changes of the run that is made longer, null where there is none."""
        if repeated is not None:
            return cls(repeated=[StepChange(*one) for one in repeated.get(chain, ())])
        return cls(decisions(spec.draws) if may_shrink(spec) else frozenset())

    @property
    def most(self) -> int:
        """Changes that can still come."""
        if self.at:
            return MAX_CHANGES - len(self.changes)
        return len(self.repeated) - len(self.changes)

    def decides(self, kept: int) -> bool:
        """Whether a change may come after so many kept draws."""
        if self.at:
            return self.most > 0 and kept in self.at
        return self.most > 0 and self.repeated[len(self.changes)].draws == kept

    def see(self, diverged: int, observed: int) -> None:
        """Take notice of more draws."""
        self.new += diverged
        self.diverged += diverged
        self.observed += observed

    def changes_now(self, kept: int) -> bool:
        """Decide, where `decides(kept)`; a change is recorded."""
        if self.repeated:
            self.changes.append(self.repeated[len(self.changes)])
        elif self.new and few(self.diverged, self.observed):
            self.changes.append(StepChange(kept, self.diverged))
        else:
            self.new = 0
            return False
        self.new = self.diverged = self.observed = 0
        return True


def described(changes: Changes) -> str:
    """Describe the changes for the log."""
    parts = []
    for chain, own in sorted(changes.items()):
        diverged, draws = sum(one.diverged for one in own), sum(one.draws for one in own)
        counted = f"{diverged} divergence{'s' if diverged != 1 else ''}"
        more = f", {draws:,} draws became warm-up" if draws else " late in warm-up"
        parts.append(f"chain {chain} ({counted}{more})")
    return f"smaller steps after a few divergences: {', '.join(parts)}"
