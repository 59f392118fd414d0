"""Whether variational inference has converged: the evidence lower bound does not move any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged, severity_above

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_REMEDY = "Fit longer (sampler.iterations), or change sampler.learning_rate."


def run(judged: Judged) -> CheckResult:
    """Compare the mean ELBO of the last quarter of the fit with that of the quarter before, in nats."""
    import numpy as np

    stats = judged.idata.get("sample_stats", {})
    if "elbo" not in stats:
        return CheckResult()
    change, level = drift(np.asarray(stats["elbo"], float))
    limits = judged.settings.thresholds.elbo
    severity = severity_above(change, limits)
    limit = limits[1] if severity == "fail" else limits[0]
    message = f"The ELBO moved by {change:.2g} nats between the last two quarters of the fit (mean {level:.1f})."
    remedy = "" if severity == "ok" else _REMEDY
    finding = Finding("elbo", severity, message, value=change, threshold=limit, remedy=remedy)
    return CheckResult((finding,), {"elbo": level})


def drift(elbo: NDArray[np.float64]) -> tuple[float, float]:
    """Return how far the ELBO surely moved between the last two quarters of a fit, and its last level.

    Parameters
    ----------
    elbo
        Noisy values by iteration.

    Returns
    -------
    change : float
        Absolute difference of both means less two of its standard errors, at least 0; NaN for fewer than 8 values.
    level : float
        Mean of the last quarter.
    """
    import numpy as np

    if len(elbo) < 8:
        return float("nan"), float("nan")
    before, last = np.split(elbo[-2 * (len(elbo) // 4) :], 2)
    error = np.sqrt((before.var() + last.var()) / len(last))
    change = np.maximum(0.0, abs(last.mean() - before.mean()) - 2 * error)  # Python's max would lose a NaN
    return float(change), float(last.mean())


CHECK = Check(run, ("advi",))
