"""`(x | mm(a, b))`: effects of groups of which a row may belong to several (Browne, Goldstein and Rasbash 2001).

    eta[row] += sum over effects k of  column_k[row] * (sum over members m of  w_m[row] * r[group_m[row], k])

with effects `r` as those of `(x | g)`. The groups are those of all columns together, and the weights of a row add up to
1 unless `scale = FALSE` (doi:10.1177/1471082X0100100202).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.arrays import places, shown_values
from bayesrun.data.base import Role
from bayesrun.data.factors import as_levels, formula_column, levels_of, value_key
from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.language.formula_grammar import column_named, quoted, shown
from bayesrun.language.formula_state import plain_design, restored_design
from bayesrun.language.formulas import INTERCEPT, Design, Formula, design, parse
from bayesrun.language.statements import Statement, distribution_in
from bayesrun.language.unicode_names import identifier_of
from bayesrun.lazy import xr
from bayesrun.models.regression.blocked_algebra import moments
from bayesrun.models.regression.design_matrix import column_problems
from bayesrun.models.regression.formula_rows import columns_at
from bayesrun.models.regression.group_effects import (
    correlated_effects,
    correlation_prior,
    effect_coords,
    effect_scales,
    not_over_rows,
    recalled_factor,
    row_keys,
    sd_prior,
)
from bayesrun.models.regression.group_terms import joined, summands
from bayesrun.models.regression.linear_terms import Part, Rows, Setting
from bayesrun.models.regression.term_priors import prior_in

if TYPE_CHECKING:
    from bayesrun.language.declaration import Deterministic

_TERM = re.compile(r"\(\s*(?P<effects>[^|]+?)\s*\|(?P<second>\|?)\s*mm\s*\((?P<arguments>.*)\)\s*\)", re.DOTALL)
_HINT = "write (1 | mm(a, b)), (x | mm(a, b)), or (1 | mm(a, b, weights = cbind(w1, w2)))"


def without_memberships(right: str, key: str) -> tuple[str, list[MembershipTerm]]:
    """Take the terms of several memberships out of the right side of a formula, as `without_smooths` does."""
    kept, terms = list[tuple[str, str]](), list[MembershipTerm]()
    for sign, part in summands(right):
        found = _TERM.fullmatch(part)
        if found is None:
            kept.append((sign, part))
            continue
        if sign == "-":
            raise fail(key, f"'- {quoted(part)}' removes a group term", "leave the term out")
        if re.match(r"mmc\s*\(", found["effects"]):
            message = f"'{quoted(part)}': a slope of several memberships has one column for all members"
            raise fail(key, message, "write (x | mm(a, b)); other slopes need a declarative model (docs/language.md)")
        term = _read(found["arguments"], _effects(found["effects"], part, key), not found["second"], key)
        if term.name in {one.name for one in terms}:
            raise fail(key, f"{term.text} stands twice in the formula", "leave one of them out")
        terms.append(term)
    if not terms:
        return right, []
    return joined(kept), terms


def _effects(text: str, part: str, key: str) -> Formula:
    try:
        return parse(f"_ ~ {text}", key)
    except UserError as error:
        problem = error.problems[0]
        raise fail(key, f"'{quoted(part)}' can't be read: {problem.message}", problem.hint) from error


def _read(arguments: str, effects: Formula, correlated: bool, key: str) -> MembershipTerm:
    """Parse what `mm(...)` holds."""
    members: list[str] = []
    weights: tuple[str, ...] = ()
    scale = True
    for part in re.split(r",\s*(?![^()]*\))", arguments.strip()):
        name, equals, value = (text.strip() for text in part.partition("="))
        if not equals and name.isidentifier():
            members.append(column_named(name))
        elif name == "weights" and (of := re.fullmatch(r"cbind\s*\((.*)\)", value)):
            named = [one.strip() for one in of[1].split(",")]
            if not all(one.isidentifier() for one in named):
                raise fail(key, f"the weights of mm(...) must be columns (got {quoted(value)})", _HINT)
            weights = tuple(column_named(one) for one in named)
        elif name == "scale" and value in ("TRUE", "True", "T", "FALSE", "False", "F"):
            scale = value.startswith("T")
        else:
            raise fail(key, f"'{quoted(part)}' can't be read in mm({quoted(arguments)})", _HINT)
    if len(members) < 2:
        raise fail(key, f"mm({quoted(arguments)}) names {len(members)} column", f"{_HINT}; of one column, (1 | a)")
    if len(set(members)) < len(members):
        raise fail(key, f"mm({quoted(arguments)}) names a column twice", _HINT)
    if weights and len(weights) != len(members):
        message = f"mm({quoted(arguments)}) has {len(members)} columns and {len(weights)} weights"
        raise fail(key, message, "give one weight for each column")
    return MembershipTerm(tuple(members), weights, scale, key, effects, correlated)


@dataclass(frozen=True)
class MembershipTerm:
    """`(x | mm(a, b))`.

    Parameters
    ----------
    members
        Columns that name the groups of a row.
    weights
        Columns with the weight of each; empty for equal ones.
    scale
        Whether the weights of a row are divided by their sum.
    key
        Config key of the formula.
    effects
        Effects that vary between the groups: a formula without a left side.
    correlated
        Whether the effects of one group are correlated.
    """

    members: tuple[str, ...]
    weights: tuple[str, ...]
    scale: bool
    key: str
    effects: Formula
    correlated: bool

    @property
    def text(self) -> str:
        """The grouping as it is written, without weights."""
        return f"mm({', '.join(self.members)})"

    @property
    def name(self) -> str:
        """Name of the grouping in names of variables, and dim of the groups."""
        return identifier_of("_".join(("mm", *self.members)))

    def roles(self) -> tuple[Role, ...]:
        """Return the columns of groups and weights."""
        labels = tuple(Role(name, "predictor", "any", self.key) for name in self.members)
        weights = (Role(name, "predictor", "real", self.key) for name in self.weights)
        varying = (
            Role(n, "predictor", "any" if n in self.effects.categorical else "number_or_date", self.key)
            for n in self.effects.variables
        )
        return (*labels, *weights, *varying)

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return the names of the grouping below `sd` and `cor`."""
        return tuple(f"{section}.{name}" for section in ("sd", "cor") for name in self.names(prefix))

    def names(self, prefix: str) -> tuple[str, str]:
        """Return the names that its sd may have in `model.priors.sd`."""
        return f"{prefix}{self.name}", f"{prefix}{self.text}"

    def summands(self) -> tuple[str, ...]:
        """Return what it adds to the linear predictor, as a statement has it."""
        return tuple(self._summand(effect) for effect in self.effects.terms)

    def _summand(self, effect: str) -> str:
        pick = "" if len(self.effects.terms) == 1 else f", {effect!r}"
        each = [f"r_{self.name}[{name}{pick}]" for name in self.members]
        times = "" if effect == INTERCEPT else f" * column({shown(effect)!r})"
        if not self.weights:
            return f"({' + '.join(each)})" + (f" / {len(each)}" if self.scale else "") + times
        total = " + ".join(f"{weight} * {one}" for weight, one in zip(self.weights, each, strict=True))
        return (f"({total}) / ({' + '.join(self.weights)})" if self.scale else f"({total})") + times

    def prior_statements(self, priors: Mapping[str, Any], prefix: str) -> Iterator[Statement]:
        """Yield the distributions of the levels, and of their sd."""
        name = f"{prefix}{self.name}"
        several = len(self.effects.terms) > 1
        dims, over = ((self.name, f"{name}_effect"), (f"{name}_effect",)) if several else ((self.name,), ())
        if several and self.correlated:
            yield Statement("prior", f"r_{name}", dims, {"dist": "MvNormal", "mu": 0, "cov": f"Sigma_{name}"})
            yield Statement("deterministic", f"Sigma_{name}", (), expression=f"covariance(sd_{name}, cor_{name})")
        else:
            yield Statement("prior", f"r_{name}", dims, {"dist": "Normal", "mu": 0, "sigma": f"sd_{name}"})
        yield Statement("prior", f"sd_{name}", over, distribution_in(prior_in("sd", priors, self.names(prefix))[1]))
        if several and self.correlated:
            eta = correlation_prior(priors["cor"], self.names(prefix))
            yield Statement("prior", f"cor_{name}", (), {"dist": "LKJ", "eta": eta})

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedMemberships, xr.Dataset]:
        """Find the groups, and compute the columns of the effects."""
        check([*not_over_rows(rows, self.members, self.key), *column_problems(rows.data, self.effects, rows.dim)])
        every = np.unique(np.concatenate([_keys(rows, one) for one in self.members]).astype(str))
        labels = _ordered(every)
        if len(labels) < 2:
            message = f"{self.text} has a single group, between which nothing can vary"
            raise fail(self.key, message, "leave the group term out")
        columns = {n: formula_column(rows.data, n, n in self.effects.categorical) for n in self.effects.variables}
        made = design(self.effects, columns or {rows.dim: rows.data[rows.dim].values})
        own = replace(made, matrix=made.matrix[:0].copy())
        fitted = FittedMemberships(self, tuple(labels), setting.prefix, own, *moments(made.matrix))
        return fitted, fitted.columns(rows)

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedMemberships:
        """Rebuild it from the output of `plain`."""
        if "design" not in content:  # of a run that knew levels alone
            made = design(self.effects, {"row": np.zeros(1)})
            own = replace(made, matrix=made.matrix[:0].copy())
            return FittedMemberships(self, tuple(content["labels"]), setting.prefix, own, np.ones(1), np.zeros(1))
        made = restored_design(content["design"], self.effects)
        means, sds = (np.array(content[name]) for name in ("means", "sds"))
        return FittedMemberships(self, tuple(content["labels"]), setting.prefix, made, means, sds)


@dataclass(frozen=True)
class FittedMemberships:
    """Several memberships, with the groups of the fit.

    Parameters
    ----------
    term
        The term as written.
    labels
        The groups, as text.
    prefix
        Prefix of its variables' names.
    design
        The columns of the effects, and the state of their transforms.
    means, sds
        Means and sds of those columns over the fitted rows.
    """

    term: MembershipTerm
    labels: tuple[str, ...]
    prefix: str
    design: Design
    means: NDArray[Any]
    sds: NDArray[Any]

    @property
    def name(self) -> str:
        """Name of the grouping in the model's variables."""
        return f"{self.prefix}{self.term.name}"

    def plain(self) -> Mapping[str, Any]:
        """Return the columns and their groups, the state of the transforms, and the moments that scale the priors."""
        return {
            "design": plain_design(self.design),
            "members": list(self.term.members),
            "labels": list(self.labels),
            "means": self.means.tolist(),
            "sds": self.sds.tolist(),
        }

    def known_groups(self) -> Mapping[str, int]:
        """Return the number of groups of the fit."""
        return {self.term.name: len(self.labels)}

    def columns(self, rows: Rows) -> xr.Dataset:
        """Return the codes of each column's groups, and the weights.

        Raises
        ------
        UserError
            For groups not seen in the fit, unless they are allowed; they then come after all others.
        """
        check(not_over_rows(rows, self.term.members, self.term.key))
        of = {label: code for code, label in enumerate(self.labels)}
        keys = {name: _keys(rows, name) for name in self.term.members}
        new = dict.fromkeys(key for own in keys.values() for key in own if key not in of)
        if new and not rows.new_levels:
            problems = [self._unknown(key, n, own, of, rows) for n, own in keys.items() for key in new if key in own]
            raise UserError(problems)
        labels = [*self.labels, *new]
        of = {label: code for code, label in enumerate(labels)}
        variables: dict[str, Any] = {}
        for number, own in enumerate(keys.values(), start=1):
            variables[f"{self.term.name}_code_{number}"] = (
                rows.dim,
                np.array([of[key] for key in own], dtype=np.int64),
            )
        for number, weight in enumerate(self._weights(rows), start=1):
            variables[f"{self.term.name}_weight_{number}"] = (rows.dim, weight)
        effects = list(self.design.columns)
        coords: dict[str, Any] = {self.term.name: as_levels(labels), f"{self.name}_effect": effects}
        if self._correlated:
            coords |= effect_coords(self.name, effects)
        if effects != [INTERCEPT]:
            matrix = columns_at(self.term.effects, self.design, rows.data, rows.dim)
            variables[f"{self.name}_design"] = ((rows.dim, f"{self.name}_effect"), matrix)
        return xr.Dataset(variables, coords=coords)

    @property
    def _correlated(self) -> bool:
        return self.term.correlated and len(self.design.columns) > 1

    def _weights(self, rows: Rows) -> Sequence[NDArray[Any]]:
        names = self.term.weights
        weights = [rows.data[name].values.astype(float) for name in names]
        if not (weights and self.term.scale):
            return weights
        total = np.sum(weights, axis=0)
        if not (total > 0).all():
            first = rows.data[names[0]]
            got = shown_values(first, first.copy(data=~(total > 0)))
            message = f"the weights of {self.term.text} must add up to more than 0 in each row (got '{names[0]}' {got})"
            raise fail(f"{rows.key}", message, "correct the rows, or write scale = FALSE")
        return [weight / total for weight in weights]

    def _unknown(self, key: str, name: str, own: NDArray[Any], of: Mapping[str, int], rows: Rows) -> Problem:
        where = places(rows.data[rows.dim].copy(data=own == key))
        message = f"the model was not fitted to '{key}' of '{self.term.text}' ({where})"
        hint = f"{did_you_mean(key, of)}; predict.new_levels=population draws the effects of new groups"
        return Problem(f"{rows.key}.{name}", message, hint)

    def declare(self, setting: Setting) -> Part:
        """Declare the effects of the groups, their sds and correlations."""
        name, dims = self.name, [self.term.name, f"{self.name}_effect"]
        names, effects = self.term.names(self.prefix), self.design.columns
        scales = effect_scales(self.design, self.means, self.sds, setting.spread)
        sd = sd_prior(setting.priors["sd"], names, effects, scales, setting.data)
        if self._correlated:
            eta = correlation_prior(setting.priors["cor"], names)
            part = correlated_effects(name, dims[0], len(effects), sd, eta, "noncentered")
        else:
            around = {"dist": "Normal", "mu": 0, "sigma": f"sd_{name}", "dims": dims, "parameterization": "noncentered"}
            part = Part("", {f"sd_{name}": {**sd[0], "dims": dims[1:]}, f"r_{name}": around})
        words = "levels" if effects == (INTERCEPT,) else "effects"
        note = f"{words} of {len(self.labels)} groups of '{self.term.text}' are sampled non-centred"
        return replace(part, expression=self._expression(), notes=(note,))

    def _expression(self) -> str:
        name = self.name
        alone = self.design.columns == (INTERCEPT,)
        numbers = range(1, len(self.term.members) + 1)
        pick = "[:, 0]" if alone else ""
        each = [f"r_{name}{pick}[{self.term.name}_code_{number}]" for number in numbers]
        if self.term.weights:
            each = [f"{self.term.name}_weight_{number} * {one}" for number, one in zip(numbers, each, strict=True)]
        total = f"({' + '.join(each)})"
        share = f" / {len(each)}" if self.term.scale and not self.term.weights else ""
        return f"{total}{share}" if alone else f"sum({total} * {name}_design, {name}_effect){share}"

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Compute the Cholesky factor of the posterior's sds and correlations."""
        return recalled_factor(self.name, len(self.design.columns)) if self._correlated else ()


def _keys(rows: Rows, name: str) -> NDArray[Any]:
    return row_keys(rows, (name,))


def _ordered(keys: NDArray[Any]) -> list[str]:
    """Return labels in the order of numbers if all are numbers, otherwise in that of text."""
    try:
        return [str(keys[place]) for place in np.argsort(keys.astype(float), kind="stable")]
    except ValueError:
        return [value_key(label) for label in levels_of(keys)[0]]
