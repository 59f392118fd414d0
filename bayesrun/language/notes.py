"""What a builder tells the later steps about its model, beside what `pm.Model` holds.

It lies below the models because a prior's parameterization, too, makes variables that only the sampler needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pymc3 as pm
    from numpy.typing import NDArray

Draws = Mapping[str, "NDArray[Any]"]


@dataclass
class Notes:
    """What a builder tells the later steps about its model, beside what `pm.Model` holds.

    Parameters
    ----------
    helpers
        Variables that exist for the sampler's sake (non-centred offsets): kept out of summaries and files.
    recover
        `(draws, rng) -> further draws`, for variables that were summed out and are drawn afterwards. Arrays are
        (chain, draw, ...).
    coords
        Labels of dims that the model's own `coords` lack, among them `NAME_missing`.
    dims
        Dims of variables that the model's own record lacks.
    gaps
        Where each likelihood has imputed values: True at a gap, over the likelihood's dims.
    reported
        The model as users think of it, when the one that is sampled is another form of it (summed out, whitened):
        its priors are drawn from, its likelihood predicts and is judged, its graph is drawn. Names as in `draws`
        after `recover`.
    """

    helpers: set[str] = field(default_factory=set)
    recover: Callable[[Draws, np.random.Generator], Draws] | None = None
    coords: dict[str, Any] = field(default_factory=dict)
    dims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    gaps: dict[str, NDArray[Any]] = field(default_factory=dict)
    reported: pm.Model | None = None


def notes(model: pm.Model) -> Notes:
    """Return the notes of a model, made on first use."""
    if not hasattr(model, "bayesrun_notes"):
        model.bayesrun_notes = Notes()
    return model.bayesrun_notes  # type: ignore[no-any-return]
