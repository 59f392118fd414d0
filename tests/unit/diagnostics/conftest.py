"""Posteriors made by hand, so that it is known what each check must find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import arviz as az
import numpy as np

from bayesrun.diagnostics.base import CHECKS, CheckResult, DiagnosticsSpec, Finding, Judged, judge
from bayesrun.diagnostics.summary import summarise

CHAINS, DRAWS = 4, 1000


def normal(chains: int = CHAINS, draws: int = DRAWS, seed: int = 1, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Independent standard normal draws (chain, draw, ...)."""
    return np.random.default_rng(seed).normal(size=(chains, draws, *shape))


def judged(posterior: Mapping[str, Any], method: str = "nuts", depth: int = 10, **more: Any) -> Judged:
    """What checks look at; `more` are further groups, `settings` and `missing` among them."""
    settings = more.pop("settings", DiagnosticsSpec())
    missing = more.pop("missing", {})
    idata = az.from_dict(posterior=dict(posterior), **more)
    return Judged(idata, summarise(idata), method, settings, depth, missing)


def run(check: str, subject: Judged) -> CheckResult:
    """Run one check by name."""
    return CHECKS.load(check, "key").run(subject)


def only(result: CheckResult) -> Finding:
    """Return the one finding of a check."""
    (finding,) = result.findings
    return finding


__all__ = ["CHAINS", "DRAWS", "judge", "judged", "normal", "only", "run"]
