"""What a declaration says about a model and `pm.Model` has no place for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pymc3 as pm
    from numpy.typing import NDArray

    from bayesrun.language.declaration import Recover


@dataclass
class Metadata:
    """What a declaration says about a model and `pm.Model` has no place for.

    Parameters
    ----------
    helpers, recover, reported
        As in `bayesrun.language.declaration.Declaration`.
    coords
        Labels of dims that the model's own `coords` lack, among them `NAME_missing`.
    dims
        Dims of variables that the model's own record lacks.
    missing
        Where each likelihood has imputed values: True where one is, over the likelihood's dims.
    """

    helpers: set[str] = field(default_factory=set)
    recover: Recover | None = None
    coords: dict[str, Any] = field(default_factory=dict)
    dims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    missing: dict[str, NDArray[Any]] = field(default_factory=dict)
    reported: pm.Model | None = None


def metadata(model: pm.Model) -> Metadata:
    """Return the metadata of a model, made on first use."""
    if not hasattr(model, "bayesrun_metadata"):
        model.bayesrun_metadata = Metadata()
    return model.bayesrun_metadata  # type: ignore[no-any-return]
