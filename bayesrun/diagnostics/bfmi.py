"""Bayesian fraction of missing information: whether NUTS explores all energies (arXiv:1604.00695)."""

from __future__ import annotations

import numpy as np

from bayesrun.diagnostics import advice
from bayesrun.diagnostics.base import Check, CheckResult, Judged, grade_below, graded
from bayesrun.diagnostics.numerics.convergence import bfmi


def run(judged: Judged) -> CheckResult:
    """Judge the smallest BFMI of the chains."""
    stats = judged.idata.get("sample_stats", {})
    if "energy" not in stats or stats["energy"].sizes["draw"] < 2:
        return CheckResult()
    values = bfmi(np.asarray(stats["energy"].transpose("chain", "draw"), dtype=float))
    least = float(values.min())
    message = (
        f"The smallest BFMI of the chains is {least:.2f} (chain {int(values.argmin())}): the tails are explored slowly."
    )
    grade = grade_below(least, judged.settings.thresholds.bfmi)
    return CheckResult(
        (graded("bfmi", grade, least, message, [*advice.other_forms(judged), advice.TIGHTER_PRIORS]),),
        {"bfmi_min": least},
    )


CHECK = Check(run, ("nuts",))
