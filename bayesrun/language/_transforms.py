"""The transforms that YAML may name, for a variable's support."""

from __future__ import annotations

from typing import Any

from bayesrun.errors import fail
from bayesrun.language.plan import Plan
from bayesrun.language.values import theano_of


def transform_of(name: str, this: Plan) -> Any:
    """Return PyMC3's transform; `ordered` keeps the support of the distribution as well.

    Parameters
    ----------
    name
        One of `distributions.TRANSFORMS`.
    this
        The variable.
    """
    from pymc3.distributions import transforms

    if name == "none":
        return None
    if name != "ordered":
        return getattr(transforms, name)
    if not this.shape or this.shape[-1] < 2:
        raise fail(f"{this.key}.transform", "ordered needs an axis of two or more", "write shape: 2, or dims")
    inner = _to_real_line(this)
    return transforms.ordered if inner is None else transforms.Chain([inner, transforms.ordered])


def _to_real_line(this: Plan) -> Any:
    """Return the transform of one number of the support to the real line, None where it is the real line."""
    from pymc3.distributions import transforms

    support = this.family.support
    if support == "positive":
        return transforms.log
    if support == "unit":
        return transforms.logodds
    if support == "interval" and {"lower", "upper"} <= this.values.keys():
        return transforms.interval(theano_of(this.values["lower"]), theano_of(this.values["upper"]))
    if support == "interval" and this.family.name in ("Uniform", "Triangular"):
        raise fail(f"{this.key}.transform", "ordered needs both lower and upper here", "write them")
    if support in ("real", "any", "interval"):
        return None
    raise fail(f"{this.key}.transform", f"a {this.family.name} can't be ordered", "remove transform")
