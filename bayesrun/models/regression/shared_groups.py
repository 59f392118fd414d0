"""Group effects of several terms that share an id, `(1 | p | g)`: they are correlated across parameters and responses.

    (r_1, ..., r_K)[group] ~ MvNormal(0, D C D),     C ~ LKJ(eta)

where `r_1, ..., r_K` are the effects of all terms with the id, in the order of the formulas. Each is called after the
parameter or the response that it is an effect on: `Intercept`, `sigma_Intercept`; `y_Intercept`, `z_Intercept`. The id
is that of brms (Bürkner 2018, doi:10.32614/RJ-2018-017).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bayesrun.errors import fail
from bayesrun.models.regression.expansion import Expansion
from bayesrun.models.regression.group_effects import (
    RELIABLE,
    FittedGroups,
    GroupEffects,
    correlated_effects,
    correlation_prior,
    effect_coords,
    recalled_factor,
    sd_prior,
    unplaced,
)
from bayesrun.models.regression.regression_plan import KEY, RegressionPlan
from bayesrun.models.regression.regression_spec import RegressionSpec


def with_joint_names(plans: Mapping[str, RegressionPlan]) -> dict[str, RegressionPlan]:
    """Name the effects of each id; an id that a single term bears is left out.

    They have the name of the grouping, `g`, or `p_g` where the model has other effects of that name.

    Raises
    ------
    UserError
        For an id of terms with different groupings.
    """
    every = [
        (this, one, term)
        for this in plans.values()
        for one in this.predictors.values()
        for term in one.terms
        if isinstance(term, GroupEffects)
    ]
    taken = {f"{one.prefix}{term.term.name}" for _, one, term in every if not term.term.shared}
    names: dict[str, str] = {}
    for shared in dict.fromkeys(term.term.shared for *_, term in every if term.term.shared):
        of = [(this, one, term.term) for this, one, term in every if term.term.shared == shared]
        if len({term.columns for *_, term in of}) > 1:
            groupings = ", ".join(dict.fromkeys(":".join(term.columns) for *_, term in of))
            hint = "give the terms of each grouping an id of their own, or none"
            raise fail(KEY, f"the id '{shared}' is that of several groupings ({groupings})", hint)
        by_level = any(this.family.categories == "reference" and one is this.main for this, one, _ in of)
        if len(of) > 1 or by_level:
            grouping = of[0][2].grouping
            names[shared] = f"{shared}_{grouping}" if grouping in taken else grouping
            taken.add(names[shared])
    return {name: _named(this, names, taken) for name, this in plans.items()}


def _named(this: RegressionPlan, names: Mapping[str, str], taken: set[str]) -> RegressionPlan:
    def of(term: Any, prefix: str) -> Any:
        if not isinstance(term, GroupEffects) or not term.term.shared:
            return term
        if term.term.shared in names:
            return replace(term, joint=names[term.term.shared])
        name = f"{prefix}{term.term.grouping}"
        if name in taken:
            return term
        taken.add(name)  # another id of the same grouping stays in the names of its effects
        return replace(term, term=replace(term.term, shared=""))

    predictors = {
        name: replace(one, terms=tuple(of(term, one.prefix) for term in one.terms))
        for name, one in this.predictors.items()
    }
    return replace(this, predictors=predictors)


def with_joint_effects(separate: Expansion, spec: RegressionSpec) -> Expansion:
    """Declare the effects of all terms with one id together.

    Parameters
    ----------
    separate
        The regression, whose terms name effects that are not declared.
    spec
        The model.
    """
    found = separate
    for joint in dict.fromkeys(term.effects.joint for _, term in _members(separate)):
        found = _joined(found, joint, spec)
    return found


def joint_effects(fitted: FittedGroups) -> list[str]:
    """Return the names of a term's effects among those of all terms with its id."""
    return [f"{fitted.prefix}{column}" for column in fitted.design.columns]


def _members(expansion: Expansion) -> list[tuple[str, FittedGroups]]:
    return [
        (key, term)
        for key, terms in expansion.terms.items()
        for term in terms
        if isinstance(term, FittedGroups) and term.effects.joint
    ]


def _joined(separate: Expansion, joint: str, spec: RegressionSpec) -> Expansion:
    members = [(key, term) for key, term in _members(separate) if term.effects.joint == joint]
    first = members[0][1]
    grouping = ":".join(first.effects.term.columns)
    names = (joint, grouping)
    effects = [effect for _, term in members for effect in joint_effects(term)]
    scales = np.concatenate([term.scales(separate.settings[key]) for key, term in members])
    data = separate.settings[members[0][0]].data
    sd = sd_prior(spec.priors["sd"], names, effects, scales, data)
    least = min(term.reliability for _, term in members)
    form = "centered" if least >= RELIABLE and not any(separate.settings[key].thresholds for key, _ in members) else ""
    eta = correlation_prior(spec.priors["cor"], names)
    part = correlated_effects(joint, first.dim, len(effects), sd, eta, form or "noncentered")
    given = separate.model
    model: dict[str, Any] = {section: given[section] for section in ("name", "type")}
    model["priors"] = {**given["priors"], **part.priors}
    model["deterministics"] = {**given.get("deterministics", {}), **part.deterministics}
    model["likelihood"] = given["likelihood"]
    terms, place = dict(separate.terms), 0
    for key, term in members:
        model["likelihood"] = _placed(model["likelihood"], unplaced(term), f"r_{joint}", place)
        own = replace(term, place=place)
        terms[key] = tuple(own if one is term else one for one in terms[key])
        place += len(term.design.columns)
    words = f"effects of {len(first.labels)} groups of '{grouping}' on several parameters are correlated"
    note = f"{words}, and sampled {'centred' if form else 'non-centred'} (reliability {least:.2f})"
    return replace(
        separate,
        model=model,
        columns=separate.columns.assign_coords(effect_coords(joint, effects)),
        terms=terms,
        helpers=separate.helpers | part.helpers,
        notes=(*separate.notes, note),
        recalled=(*separate.recalled, *recalled_factor(joint, len(effects))),
    )


def _placed(given: Any, name: str, joint: str, place: int) -> Any:
    """Name the effects of a term by their places among all effects, in every expression."""
    if isinstance(given, Mapping):
        return {key: _placed(of, name, joint, place) for key, of in given.items()}
    if not isinstance(given, str):
        return given
    return re.sub(rf"\b{re.escape(name)}\[:, (\d+)\]", lambda k: f"{joint}[:, {int(k[1]) + place}]", given)


__all__ = ["joint_effects", "with_joint_effects", "with_joint_names"]
