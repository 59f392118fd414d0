"""What a sampler would have returned, made of the draws that a run had stored before it died."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bayesrun.samplers.base import Sampled
from bayesrun.samplers.chains import most_draws
from bayesrun.samplers.draw_store import Layout, StoredDraws

if TYPE_CHECKING:
    from bayesrun.engines.base import Arrays, Vector


def recovered(stored: StoredDraws, constrain: Callable[[], Callable[[Vector], Arrays]]) -> Sampled:
    """Put stored draws together.

    Parameters
    ----------
    stored
        The draws of each chain.
    constrain
        Compiles the map from points to variables; called only where points were stored.

    Returns
    -------
    Sampled
        Draws of the chains that have any, all cut to the one length that keeps the most, `interrupted` by `killed`.
    """
    import numpy as np

    layout = stored.layout
    kept, length = most_draws({chain: _length(columns) for chain, (columns, _) in stored.chains.items()})
    columns = {name: np.stack([stored.chains[n][0][name][:length] for n in kept]) for name in layout.columns}
    known = set.intersection(*(set(stored.chains[n][1]) for n in kept))
    stats = {
        name: np.stack([stored.chains[n][1][name][:length] for n in kept]) for name in layout.stats if name in known
    }
    draws = constrain()(columns["point"]) if layout.kind == "points" else columns
    lost = {n: "left no draws" for n in range(layout.chains) if n not in kept}
    return Sampled(draws, stats, layout.steps, 0.0, 0.0, interrupted="killed", died=lost)


def layout_of(sampled: Sampled) -> Layout:
    """Return the layout in which all draws of a sampler can be stored at once."""
    chains, draws = next(iter(sampled.draws.values())).shape[:2]
    columns = {name: values.shape[2:] for name, values in sampled.draws.items()}
    one_number = tuple(name for name, values in sampled.stats.items() if values.ndim == 2)
    return Layout("variables", columns, one_number, chains, draws, sampled.steps)


def _length(columns: Arrays) -> int:
    return len(next(iter(columns.values())))
