"""How much two posteriors of one scalar share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_MOST_VALUES = 200


def overlap(a: Floats, b: Floats) -> float:
    """Return the overlapping coefficient, the integral of min(p, q): 1 for equal posteriors, 0 for disjoint ones.

    Parameters
    ----------
    a, b
        Draws of the scalar; whole numbers are compared by their frequencies, others by kernel densities.
    """
    import numpy as np

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float(np.ptp(np.concatenate([a, b])) == 0)
    if is_discrete(a) and is_discrete(b):
        return _shared_frequency(a, b)
    grid = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), 2001)
    shared = np.minimum(density(a, grid), density(b, grid))
    return float(min(1.0, np.trapz(shared, grid)))


def is_discrete(values: Floats) -> bool:
    """Say whether draws are whole numbers, few enough to count."""
    import numpy as np

    return bool(np.all(values == np.round(values)) and len(np.unique(values)) <= _MOST_VALUES)


def density(values: Floats, grid: Floats) -> Floats:
    """Estimate a density on a grid by ArviZ's kernel estimate, which minds the draws' bounds."""
    import arviz as az
    import numpy as np

    at, height = az.kde(values)
    return np.asarray(np.interp(grid, at, height, left=0.0, right=0.0))


def _shared_frequency(a: Floats, b: Floats) -> float:
    import numpy as np

    values = np.unique(np.concatenate([a, b]))
    shares = [np.array([np.mean(x == v) for v in values]) for x in (a, b)]
    return float(np.minimum(*shares).sum())
