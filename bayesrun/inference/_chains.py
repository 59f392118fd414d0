"""What the engines share: seeds and processes of chains, why one stopped, and PyMC3's traces as arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from bayesrun.inference.base import SamplerSpec

if TYPE_CHECKING:
    import pymc3 as pm
    from numpy.typing import NDArray

# PyMC3's names of sampler statistics by ArviZ's.
_STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "tree_depth": "depth",
    "acceptance_rate": "mean_tree_accept",
    "step_size": "step_size",
    "n_steps": "tree_size",
    "lp": "model_logp",
}


class TimeIsUp(KeyboardInterrupt):
    """`sampler.max_seconds` has passed: sampling ends as on Ctrl-C, and the draws so far are kept."""


def why(stop: KeyboardInterrupt) -> Literal["interrupt", "max_seconds"]:
    """Say what a KeyboardInterrupt was raised for."""
    return "max_seconds" if isinstance(stop, TimeIsUp) else "interrupt"


def chain_seeds(seed: int, chains: int) -> list[int]:
    """Return one independent seed a chain, the same for the same `seed`."""
    import numpy as np

    return [int(s) for s in np.random.SeedSequence(seed).generate_state(chains) >> 2]


def processors() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes(spec: SamplerSpec) -> int:
    """Return how many chains run at the same time."""
    return min(spec.chains, spec.cores or processors())


def most_draws(made: Mapping[int, int]) -> tuple[list[int], int]:
    """Choose the chains, and the one length to cut them to, that keep the most draws.

    Parameters
    ----------
    made
        Draws kept so far by chain; at least one chain has some.

    Returns
    -------
    chains : list of int
        In their order.
    length : int
        Draws of each.
    """
    ranked = sorted((chain for chain in made if made[chain] > 0), key=lambda chain: -made[chain])
    count = max(range(1, len(ranked) + 1), key=lambda n: n * made[ranked[n - 1]])
    return sorted(ranked[:count]), made[ranked[count - 1]]


def draws_of(trace: pm.backends.base.MultiTrace, model: pm.Model) -> dict[str, NDArray[Any]]:
    """Return the draws (chain, draw, ...) of every variable on its own scale."""
    import numpy as np
    from pymc3.util import is_transformed_name

    names = [v.name for v in model.unobserved_RVs if not is_transformed_name(v.name)]
    return {name: np.stack(trace.get_values(name, combine=False, squeeze=False)) for name in names}


def stats_of(trace: Any) -> dict[str, NDArray[Any]]:
    """Return the sampler statistics (chain, draw) that the trace has, under ArviZ's names."""
    import numpy as np

    stats = {}
    for name, theirs in _STATS.items():
        if theirs in trace.stat_names:
            values = np.stack(trace.get_sampler_stats(theirs, combine=False, squeeze=False))
            stats[name] = values.reshape(*values.shape[:2], -1)[..., 0]
    return stats
