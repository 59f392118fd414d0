"""How a run extends an earlier one: how many draws it makes, and what can't be extended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bayesrun.config.run_config import RunConfig
from bayesrun.engines.base import CompiledModel
from bayesrun.errors import fail
from bayesrun.samplers.base import SAMPLERS, Sampled

if TYPE_CHECKING:
    import pandas as pd

    from bayesrun.samplers.earlier import EarlierDraws

_SURPLUS = 1.1
"""Safety factor on the draws that the effective sample size seems to need, which is an estimate."""
_MAX_GROWTH = 4
"""Largest growth of the draws in one round: an early estimate may be far off."""


@dataclass(frozen=True)
class Extension:
    """The run that is extended, and how far.

    Parameters
    ----------
    parent
        Folder and tracked run of the earlier run, as `provenance.json` names them.
    earlier
        Its draws.
    data_digest
        Digest of its data.
    seconds_sample
        How long its draws took.
    until_ess
        Draws are added in rounds until every effective sample size is as large as this; null = one round.
    max_draws
        Draws per chain, at most, when they are added in rounds.
    """

    parent: Mapping[str, str | None]
    earlier: EarlierDraws
    data_digest: str | None
    seconds_sample: float
    until_ess: int | None
    max_draws: int

    def check(self, config: RunConfig, model: CompiledModel, data_digest: str | None) -> None:
        """Refuse a run that can't be extended, before anything is written.

        Raises
        ------
        UserError
            With the reason.
        """
        reason = SAMPLERS.load(config.sampler.method, "sampler.method").not_extendable(model, config.sampler)
        if reason is not None:
            hint = f"run it again: sampler.draws={config.sampler.draws}"
            raise fail("run", f"'{self.parent['folder']}' can't be extended: {reason}", hint)
        if data_digest != self.data_digest:
            message = f"the data have changed since '{self.parent['folder']}'"
            raise fail("data", message, "run the model again on the new data")

    def total_seconds(self, sampled: Sampled) -> Sampled:
        """Return what was sampled with the time that all its draws took; nutpie has made all of them again."""
        again = self.earlier.layout.chosen.get("engine") == "nutpie"
        seconds = sampled.seconds_sample + (0.0 if again else self.seconds_sample)
        return replace(sampled, seconds_sample=seconds)


def least_ess(summary: pd.DataFrame) -> float:
    """Return the smallest bulk or tail effective sample size of all quantities that have one; NaN where none has."""
    return float(summary[["ess_bulk", "ess_tail"]].min().min())


def next_draws(draws: int, ess: float, wanted: int, most: int) -> int:
    """Return how many draws per chain the next round makes in all.

    Parameters
    ----------
    draws, ess
        Draws per chain so far, and the smallest effective sample size that they have.
    wanted
        The effective sample size to reach, which grows about as the draws do.
    most
        Draws per chain at most.
    """
    needed = math.ceil(draws * _SURPLUS * wanted / ess) if ess > 0 else most
    return min(max(needed, draws + 1), _MAX_GROWTH * draws, most)


def with_draws(config: RunConfig, draws: int) -> RunConfig:
    """Return a config with another number of draws per chain."""
    plain: dict[str, Any] = {**config.plain, "sampler": {**config.plain["sampler"], "draws": draws}}
    return replace(config, sampler=config.sampler.model_copy(update={"draws": draws}), plain=plain)
