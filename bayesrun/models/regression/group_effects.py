"""Group effects: for each group a vector of effects around 0, whose sds and correlations are estimated.

    eta[row] += sum over effects k of  column_k[row] * r[group[row], k],     r[group] ~ MvNormal(0, D C D)

`D` holds `sd_GROUPING`, `C` the correlations `cor_GROUPING` with an LKJ prior (Lewandowski, Kurowicka and Joe 2009,
doi:10.1016/j.jmva.2009.04.008). The contribution is gathered by the rows' codes, without multiplication by a matrix of
dummies. Groups with little information in their rows are sampled non-centred, others centred (`parameterization`).
Effects of several terms with one id are declared together (`shared_groups`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.arrays import places
from bayesrun.data.base import Role
from bayesrun.data.factors import LABELS, as_levels, codes_of, formula_column, levels_of, row_column, value_key
from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.language.declaration import Deterministic
from bayesrun.language.formula_state import plain_design, restored_design
from bayesrun.language.formulas import INTERCEPT, Design, design
from bayesrun.language.values import Value, compute, variable
from bayesrun.lazy import pd, xr
from bayesrun.models.regression.blocked_algebra import moments
from bayesrun.models.regression.design_matrix import column_problems
from bayesrun.models.regression.formula_rows import columns_at
from bayesrun.models.regression.group_reliability import Beside, reliability
from bayesrun.models.regression.group_terms import GroupTerm
from bayesrun.models.regression.linear_terms import Part, Rows, Setting
from bayesrun.models.regression.term_priors import DEFAULT, as_vector, numbers_of

RELIABLE = 0.6
"""Minimum reliability of the median group's effects for centred sampling."""


@dataclass(frozen=True)
class GroupEffects:
    """A group term of a formula.

    Parameters
    ----------
    term
        The term as written.
    dim
        Dim of the groups in the model.
    beside
        Columns of each other grouping of the same formula.
    joint
        Name of the effects of all terms with its id, of which its own are a part; empty for a term by itself.
    """

    term: GroupTerm
    dim: str
    beside: tuple[tuple[str, ...], ...] = ()
    joint: str = ""

    def roles(self) -> tuple[Role, ...]:
        """Return the columns of the grouping, and of the effects."""
        formula = self.term.effects
        varying = [
            Role(n, "predictor", "any" if n in formula.categorical else "number_or_date", formula.key)
            for n in formula.variables
        ]
        return (*(Role(name, "predictor", "any", formula.key) for name in self.term.columns), *varying)

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return the name of the grouping below `sd` and `cor`."""
        names = (self.joint or f"{prefix}{self.term.name}", ":".join(self.term.columns))
        return tuple(f"{section}.{name}" for section in ("sd", "cor") for name in names)

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedGroups, xr.Dataset]:
        """Find the groups, and compute the columns of the effects."""
        formula = self.term.effects
        check([*not_over_rows(rows, self.term.columns, formula.key), *column_problems(rows.data, formula, rows.dim)])
        keys = row_keys(rows, self.term.columns)
        labels, codes = _levels(rows, self.term.columns, keys)
        if len(labels) < 2:
            message = f"'{':'.join(self.term.columns)}' has a single group, between which nothing can vary"
            raise fail(formula.key, message, "leave the group term out")
        columns = {n: formula_column(rows.data, n, n in formula.categorical) for n in formula.variables}
        made = design(formula, columns or {rows.dim: rows.data[rows.dim].values})
        means, sds = moments(made.matrix)
        others = [self._beside(rows, one, codes) for one in self.beside]
        told = reliability(made.matrix, codes, len(labels), setting, others)
        fitted = FittedGroups(
            self, replace(made, matrix=made.matrix[:0].copy()), means, sds, tuple(labels), told, setting.prefix
        )
        return fitted, fitted.as_columns(codes, made.matrix, list(labels), rows)

    def _beside(self, rows: Rows, columns: tuple[str, ...], own: NDArray[Any]) -> Beside:
        check(not_over_rows(rows, columns, self.term.effects.key))
        codes = _levels(rows, columns, row_keys(rows, columns))[1]
        # also groups whose names tell the larger group that they are part of: broods of locations
        return Beside(codes, finer=are_parts(codes, own), coarser=are_parts(own, codes))

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedGroups:
        """Rebuild it from the output of `plain`."""
        made = restored_design(content["design"], self.term.effects)
        means, sds = (np.array(content[name]) for name in ("means", "sds"))
        reliability = float(content["reliability"])
        return FittedGroups(self, made, means, sds, tuple(content["labels"]), reliability, setting.prefix)


@dataclass(frozen=True)
class FittedGroups:
    """Fitted group effects.

    Parameters
    ----------
    effects
        The term as written.
    design
        The columns of the effects, and the state of their transforms.
    means, sds
        Means and sds of those columns over the fitted rows.
    labels
        The groups.
    reliability
        Fraction of the variance of the median group's estimated effects that is between groups; of the least reliable
        effect.
    prefix
        Prefix of its variables' names.
    place
        Position of its first effect among those of all terms with its id; None until these are known.
    """

    effects: GroupEffects
    design: Design
    means: NDArray[Any]
    sds: NDArray[Any]
    labels: tuple[Any, ...]
    reliability: float
    prefix: str
    place: int | None = None

    @property
    def name(self) -> str:
        """Name of the grouping in the model's variables."""
        return f"{self.prefix}{self.effects.term.name}"

    @property
    def dim(self) -> str:
        """Dim of the groups; all parameters share it."""
        return self.effects.dim

    @property
    def effect_dim(self) -> str:
        """Dim of the effects, or of the columns of a part of the effects of several terms."""
        return f"{self.name}_column" if self.effects.joint else f"{self.name}_effect"

    @property
    def correlated(self) -> bool:
        """Whether its correlations are its own, and are estimated."""
        return self.effects.term.correlated and len(self.design.columns) > 1 and not self.effects.joint

    def drawn(self, posterior: xr.Dataset) -> NDArray[Any]:
        """Return the draws of its effects, over (chain, draw, group, effect)."""
        values: NDArray[Any] = posterior[f"r_{self.effects.joint or self.name}"].transpose("chain", "draw", ...).values
        place = self.place or 0
        return values[..., place : place + len(self.design.columns)]

    def plain(self) -> Mapping[str, Any]:
        """Return the grouping and its groups, the state of the transforms, and the moments that scale the priors."""
        return {
            "design": plain_design(self.design),
            "grouping": list(self.effects.term.columns),
            "labels": [label.item() if hasattr(label, "item") else label for label in self.labels],
            "means": self.means.tolist(),
            "sds": self.sds.tolist(),
            "reliability": self.reliability,
        }

    def known_groups(self) -> Mapping[str, int]:
        """Return the number of groups of the fit."""
        return {self.dim: len(self.labels)}

    def columns(self, rows: Rows) -> xr.Dataset:
        """Return the codes of the groups and the columns of the effects for other rows.

        Raises
        ------
        UserError
            For groups not seen in the fit, unless they are allowed; they then come after all others.
        """
        keys = row_keys(rows, self.effects.term.columns)
        of = {value_key(label): code for code, label in enumerate(self.labels)}
        distinct, inverse = np.unique(keys, return_inverse=True)
        new = [key for key in pd.unique(keys) if key not in of]
        if new and not rows.new_levels:
            problems = []
            grouping = ":".join(self.effects.term.columns)
            for key in new:
                where = places(rows.data[rows.dim].copy(data=keys == key))
                message = f"the model was not fitted to '{key}' of '{grouping}' ({where})"
                hint = f"{did_you_mean(key, of)}; predict.new_levels=population draws the effects of new groups"
                problems.append(Problem(f"{rows.key}.{grouping}", message, hint))
            raise UserError(problems)
        of |= {key: len(self.labels) + number for number, key in enumerate(new)}
        codes = np.array([of[key] for key in distinct], dtype=np.int64)[inverse]
        matrix = columns_at(self.effects.term.effects, self.design, rows.data, rows.dim)
        return self.as_columns(codes, matrix, [*self.labels, *new], rows)

    def as_columns(self, codes: NDArray[Any], matrix: NDArray[Any], labels: Sequence[Any], rows: Rows) -> xr.Dataset:
        """Return codes and columns with the labels of their dims."""
        coords: dict[str, Any] = {self.dim: as_levels(labels)}
        if self.correlated:
            coords |= effect_coords(self.name, self.design.columns)
        elif not (self.effects.joint and self._is_intercept()):
            coords[self.effect_dim] = list(self.design.columns)
        variables: dict[str, Any] = {f"{self.dim}_code": (rows.dim, codes)}
        if not self._is_intercept():
            variables[f"{self.name}_design"] = ((rows.dim, self.effect_dim), matrix)
        return xr.Dataset(variables, coords=coords)

    def declare(self, setting: Setting) -> Part:
        """Declare sds, correlations and effects; those of several terms are declared by `shared_groups`."""
        if self.effects.joint:
            return Part(self._expression())
        name, sd = self.name, self._sd_prior(setting)
        form, note = self._parameterization(setting)
        if self.correlated:
            eta = self._correlation(setting)
            part = correlated_effects(name, self.dim, len(self.design.columns), sd, eta, form)
            return replace(part, expression=self._expression(), notes=(note,))
        effects = {"dims": [self.dim, self.effect_dim], "parameterization": form}
        priors = {
            f"sd_{name}": {**sd[0], "dims": [self.effect_dim]},
            f"r_{name}": {"dist": "Normal", "mu": 0, "sigma": f"sd_{name}", **effects},
        }
        return Part(self._expression(), priors, notes=(note,))

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Compute the Cholesky factor of the posterior's sds and correlations."""
        return recalled_factor(self.name, len(self.design.columns)) if self.correlated else ()

    def _is_intercept(self) -> bool:
        return self.design.columns == (INTERCEPT,)

    def _expression(self) -> str:
        code = f"{self.dim}_code"
        if self.effects.joint:
            source = unplaced(self) if self.place is None else f"r_{self.effects.joint}"
            of = [f"{source}[:, {k + (self.place or 0)}][{code}]" for k in range(len(self.design.columns))]
            columns = [
                "" if column == INTERCEPT else f" * {self.name}_design[:, {k}]"
                for k, column in enumerate(self.design.columns)
            ]
            return " + ".join(effect + column for effect, column in zip(of, columns, strict=True))
        if self._is_intercept():
            return f"r_{self.name}[:, 0][{code}]"
        return f"sum(r_{self.name}[{code}] * {self.name}_design, {self.effect_dim})"

    def scales(self, setting: Setting) -> NDArray[Any]:
        """Return `term_scale` of each effect."""
        return effect_scales(self.design, self.means, self.sds, setting.spread)

    def _sd_prior(self, setting: Setting) -> tuple[Mapping[str, Any], str]:
        return sd_prior(setting.priors["sd"], self._names(), self.design.columns, self.scales(setting), setting.data)

    def _correlation(self, setting: Setting) -> float:
        return correlation_prior(setting.priors["cor"], self._names())

    def _names(self) -> tuple[str, ...]:
        return self.name, f"{self.prefix}{':'.join(self.effects.term.columns)}"

    def _parameterization(self, setting: Setting) -> tuple[str, str]:
        """Choose centred or non-centred effects by how well the rows of a group determine its effects.

        Levels of groups beside thresholds are never centred: as a whole they trade off with all thresholds, and no
        coefficient of the population could take their mean.
        """
        beside = setting.thresholds and INTERCEPT in self.design.columns
        form = "centered" if self.reliability >= RELIABLE and not beside else "noncentered"
        grouping = ":".join(self.effects.term.columns)
        words = {"centered": "centred", "noncentered": "non-centred"}[form]
        note = f"effects of {len(self.labels)} groups of '{grouping}' are sampled {words}"
        why = ", beside cutpoints" if beside else ""
        return form, f"{note} (reliability {self.reliability:.2f}{why})"


def are_parts(codes: NDArray[Any], of: NDArray[Any]) -> bool:
    """Return whether groups are parts of other groups, of which there are fewer."""
    first = np.unique(codes, return_index=True)[1]
    return len(first) > len(np.unique(of)) and bool((of[first][codes] == of).all())


def effect_scales(design: Design, means: NDArray[Any], sds: NDArray[Any], spread: float) -> NDArray[Any]:
    """Return `term_scale` of each effect: `s` for an intercept or a level, `s / sd(column)` for a slope.

    Parameters
    ----------
    design
        The columns of the effects.
    means, sds
        Means and sds of those columns over the fitted rows.
    spread
        `s`, the natural scale of changes in the linear predictor.
    """
    flat = sds <= 1e-12 * np.abs(means)
    scales = np.where(flat, spread, spread / np.where(flat, 1.0, sds))
    labelled = [j for t in design.terms if t.labels is not None for j in range(t.start, t.stop)]
    scales[labelled] = spread
    return np.asarray(scales)


def unplaced(fitted: FittedGroups) -> str:
    """Name the effects of a term whose place among those of all terms with its id is not known yet."""
    return f"unplaced_{fitted.name}"


def sd_prior(
    section: Mapping[str, Any],
    names: Sequence[str],
    effects: Sequence[str],
    scales: NDArray[Any],
    data: xr.Dataset | None,
) -> tuple[Mapping[str, Any], str]:
    """Return the prior of the sds of effects, with one number per effect if they differ, and its config key.

    Parameters
    ----------
    section
        `model.priors.sd`.
    names
        Names of the grouping in it.
    effects
        Names of the effects.
    scales
        `term_scale` of each effect.
    data
        Data variables that an expression may use.

    Raises
    ------
    UserError
        For effects that are not there, and priors of several families.
    """
    given, key = _of_grouping(section, names, "model.priors.sd")
    if "dist" in given:
        found = numbers_of(given, key, scales, data)
        return as_vector([found], [len(scales)]) or found, key
    own = {**{effect: section[DEFAULT] for effect in effects}, **given}
    unknown = [effect for effect in given if effect not in effects]
    if unknown:
        hint = f"effects of {names[0]}: {', '.join(effects)}"
        raise fail(f"{key}.{unknown[0]}", f"'{unknown[0]}' does not vary between groups", hint)
    numbers = [
        numbers_of(own[effect], f"{key}.{effect}", scale, data) for effect, scale in zip(effects, scales, strict=True)
    ]
    vector = as_vector(numbers, [1] * len(numbers))
    if vector is None:
        raise fail(key, "the sds of one grouping must have priors of one family", "give all the same dist")
    return vector, key


def correlation_prior(section: Mapping[str, Any], names: Sequence[str]) -> float:
    """Return `eta` of the prior of correlations; `section` is `model.priors.cor`."""
    given, key = _of_grouping(section, names, "model.priors.cor")
    eta = given.get("eta", 1.0)
    if given.get("dist") not in ("LKJ", "LKJCorr", "LKJCholeskyCov") or not isinstance(eta, int | float):
        raise fail(key, "correlations have an LKJ prior", "write {dist: LKJ, eta: 2}")
    return float(eta)


def correlated_effects(
    name: str, dim: str, size: int, sd: tuple[Mapping[str, Any], str], eta: float, form: str
) -> Part:
    """Declare correlated effects with their sds and correlations; the summand is empty.

    Parameters
    ----------
    name, dim
        Name of the effects, and dim of the groups.
    size
        Number of effects of a group.
    sd
        The prior of all sds, and its config key.
    eta
        Of the prior of the correlations.
    form
        `centered` or `noncentered`.
    """
    prior, key = sd
    if set(prior) & {"dims", "shape", "initval", "transform", "parameterization"}:
        raise fail(key, "the sds of correlated effects take no options", "give a distribution and its parameters")
    effects = {"dims": [dim, f"{name}_effect"], "parameterization": form}
    priors = {
        f"chol_{name}": {"dist": "LKJCholeskyCov", "n": size, "eta": eta, "sd_dist": prior},
        f"r_{name}": {"dist": "MvNormal", "mu": 0, "chol": f"chol_{name}", **effects},
    }
    entries = ", ".join(f"chol_{name}_corr[{i}, {j}]" for i, j in _pairs(size))
    deterministics = {
        f"sd_{name}": {"expr": f"1 * chol_{name}_stds", "dims": [f"{name}_effect"]},
        f"cor_{name}": {"expr": f"stack({entries})", "dims": [f"{name}_pair"]},
    }
    helpers = frozenset({f"chol_{name}", f"chol_{name}_corr", f"chol_{name}_stds"})
    return Part("", priors, deterministics, helpers=helpers)


def recalled_factor(name: str, size: int) -> tuple[Deterministic, ...]:
    """Compute the Cholesky factor of the posterior's sds and correlations of correlated effects."""
    sd = variable(f"sd_{name}", (f"{name}_effect",), (size,))
    pairs = size * (size - 1) // 2
    # ones, from which shapes are inferred, are not valid correlations
    correlations = replace(variable(f"cor_{name}", (f"{name}_pair",), (pairs,)), sample=np.zeros(pairs))
    matrix = compute("correlations", [correlations], (None, None), size)
    factor: Value = compute("scaled_cholesky", [matrix, sd], (None, None))
    parts = {f"chol_{name}": factor, f"chol_{name}_corr": matrix, f"chol_{name}_stds": sd.named((None,))}
    return tuple(Deterministic(part, value, ()) for part, value in parts.items())


def effect_coords(name: str, effects: Sequence[str]) -> dict[str, list[str]]:
    """Return the labels of correlated effects and of their pairs."""
    pairs = [f"{effects[j]}, {effects[i]}" for i, j in _pairs(len(effects))]
    return {f"{name}_effect": list(effects), f"{name}_pair": pairs}


def _of_grouping(section: Mapping[str, Any], names: Sequence[str], key: str) -> tuple[Mapping[str, Any], str]:
    found = next(name for name in (*names, DEFAULT) if name in section)
    return section[found], f"{key}.{found}"


def _pairs(size: int) -> list[tuple[int, int]]:
    """Return the positions below the diagonal, row by row."""
    return [(i, j) for i in range(size) for j in range(i)]


def not_over_rows(rows: Rows, columns: Sequence[str], key: str) -> list[Problem]:
    """Find columns that do not have one label for each row."""
    return [
        Problem(key, f"'{name}' must be over the rows, one label each", "a grouping is a column")
        for name in columns
        if row_column(rows.data, name).dims != (rows.dim,)
    ]


def _label_column(rows: Rows, name: str) -> xr.DataArray:
    """Return a grouping's column as labels, even if the name is that of a factor's codes."""
    of = rows.data[name].attrs.get(LABELS)
    return row_column(rows.data, str(of) if of is not None else name)


def row_keys(rows: Rows, columns: Sequence[str]) -> NDArray[Any]:
    """Return one text per row that names its group."""
    parts = []
    for name in columns:
        values = _label_column(rows, name).values
        distinct, inverse = np.unique(values.astype(str) if values.dtype == object else values, return_inverse=True)
        parts.append(np.array([value_key(label) for label in distinct], dtype=object)[inverse])
    keys = parts[0]
    for part in parts[1:]:
        keys = keys + ":" + part
    return np.asarray(keys)


def _levels(rows: Rows, columns: Sequence[str], keys: NDArray[Any]) -> tuple[list[Any], NDArray[Any]]:
    """Return the groups in the order of their columns' levels, and the code of each row."""
    codes = []
    for name in columns:
        column = _label_column(rows, name)
        given = column.attrs.get("levels")
        levels = as_levels(np.atleast_1d(given).tolist()) if given is not None else levels_of(column.values)[0]
        codes.append(codes_of(column.values, levels)[0])
        if len(columns) == 1:
            there = np.unique(codes[0])
            labels = [levels[code] for code in there]
            place = {value_key(label): number for number, label in enumerate(labels)}
            distinct, inverse = np.unique(keys, return_inverse=True)
            return labels, np.array([place[key] for key in distinct], dtype=np.int64)[inverse]
    combined, inverse = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
    inverse = np.asarray(inverse).ravel()
    first = {code: row for row, code in reversed(list(enumerate(inverse)))}
    return [keys[first[code]] for code in range(len(combined))], inverse.astype(np.int64)
