"""Draws from the prior for samplers that need them, and why there are none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bayesrun.engines.base import CompiledModel
from bayesrun.errors import Problem, fail

if TYPE_CHECKING:
    from numpy.typing import NDArray


def prior_draws(model: CompiledModel, draws: int, seed: int) -> Mapping[str, NDArray[Any]]:
    """Draw from the prior (see `CompiledModel.draw_prior`), for a sampler that needs them.

    Raises
    ------
    UserError
        When there are no draws.
    """
    try:
        return model.draw_prior(draws, seed)
    except Exception as error:  # an engine raises whatever a distribution's generator raises
        message = f"this method needs draws from the prior, and they failed: {why_no_draws(model, error)}"
        raise fail("sampler.method", message, "give it a proper prior, or use sampler=nuts") from error


def why_no_draws(model: CompiledModel, error: Exception) -> str:
    """Return why a prior could not be drawn from."""
    flat = model.flat_priors()
    return f"'{flat[0]}' has a flat prior" if flat else f"{type(error).__name__}: {error}"


def check_proper(model: CompiledModel) -> list[Problem]:
    """Name the flat priors, for a sampler that draws from the prior."""
    flat = model.flat_priors()
    message = f"this method draws from the prior, and these variables have a flat prior: {', '.join(flat)}"
    return [Problem("sampler.method", message, "give them a proper prior, or use sampler=nuts")] if flat else []
