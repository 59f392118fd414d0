"""Group effects: for each group a vector of effects around 0, whose sds and correlations are estimated.

    eta[row] += sum over effects k of  column_k[row] * r[group[row], k],     r[group] ~ MvNormal(0, D C D)

`D` holds `sd_GROUPING`, `C` the correlations `cor_GROUPING` with an LKJ prior (Lewandowski, Kurowicka and Joe 2009,
doi:10.1016/j.jmva.2009.04.008). The contribution is gathered by the rows' codes, without multiplication by a matrix of
dummies. Groups with little information in their rows are sampled non-centred, others centred (`parameterization`).
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
    """

    term: GroupTerm
    dim: str
    beside: tuple[tuple[str, ...], ...] = ()

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
        names = (f"{prefix}{self.term.name}", ":".join(self.term.columns))
        return tuple(f"{section}.{name}" for section in ("sd", "cor") for name in names)

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedGroups, xr.Dataset]:
        """Find the groups, and compute the columns of the effects."""
        formula = self.term.effects
        check([*_not_over_rows(rows, self.term.columns, formula.key), *column_problems(rows.data, formula, rows.dim)])
        keys = _row_keys(rows, self.term.columns)
        labels, codes = _levels(rows, self.term.columns, keys)
        if len(labels) < 2:
            message = f"'{':'.join(self.term.columns)}' has a single group, between which nothing can vary"
            raise fail(formula.key, message, "leave the group term out")
        columns = {n: formula_column(rows.data, n, n in formula.categorical) for n in formula.variables}
        made = design(formula, columns or {rows.dim: rows.data[rows.dim].values})
        means, sds = moments(made.matrix)
        told = reliability(made.matrix, codes, len(labels), setting, [self._beside(rows, one) for one in self.beside])
        fitted = FittedGroups(
            self, replace(made, matrix=made.matrix[:0].copy()), means, sds, tuple(labels), told, setting.prefix
        )
        return fitted, fitted.as_columns(codes, made.matrix, list(labels), rows)

    def _beside(self, rows: Rows, columns: tuple[str, ...]) -> Beside:
        check(_not_over_rows(rows, columns, self.term.effects.key))
        codes = _levels(rows, columns, _row_keys(rows, columns))[1]
        return Beside(codes, set(columns) > set(self.term.columns))

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
    """

    effects: GroupEffects
    design: Design
    means: NDArray[Any]
    sds: NDArray[Any]
    labels: tuple[Any, ...]
    reliability: float
    prefix: str

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
        """Dim of the effects."""
        return f"{self.name}_effect"

    @property
    def correlated(self) -> bool:
        """Whether its correlations are estimated."""
        return self.effects.term.correlated and len(self.design.columns) > 1

    def plain(self) -> Mapping[str, Any]:
        """Return the groups, the state of the transforms, and the moments that scale the priors."""
        return {
            "design": plain_design(self.design),
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
        keys = _row_keys(rows, self.effects.term.columns)
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
        coords: dict[str, Any] = {self.dim: as_levels(labels), self.effect_dim: list(self.design.columns)}
        if self.correlated:
            coords[f"{self.name}_pair"] = [
                f"{self.design.columns[j]}, {self.design.columns[i]}" for i, j in _pairs(len(self.design.columns))
            ]
        variables: dict[str, Any] = {f"{self.dim}_code": (rows.dim, codes)}
        if not self._is_intercept():
            variables[f"{self.name}_design"] = ((rows.dim, self.effect_dim), matrix)
        return xr.Dataset(variables, coords=coords)

    def declare(self, setting: Setting) -> Part:
        """Declare sds, correlations and effects."""
        size, name = len(self.design.columns), self.name
        sd, key = self._sd_prior(setting)
        form, note = self._parameterization(setting)
        effects = {"dims": [self.dim, self.effect_dim], "parameterization": form}
        expression = self._expression()
        if not self.correlated:
            priors = {
                f"sd_{name}": {**sd, "dims": [self.effect_dim]},
                f"r_{name}": {"dist": "Normal", "mu": 0, "sigma": f"sd_{name}", **effects},
            }
            return Part(expression, priors, notes=(note,))
        if set(sd) & {"dims", "shape", "initval", "transform", "parameterization"}:
            raise fail(key, "the sds of correlated effects take no options", "give a distribution and its parameters")
        eta = self._correlation(setting)
        factor = {"dist": "LKJCholeskyCov", "n": size, "eta": eta, "sd_dist": sd}
        priors = {
            f"chol_{name}": factor,
            f"r_{name}": {"dist": "MvNormal", "mu": 0, "chol": f"chol_{name}", **effects},
        }
        pairs = ", ".join(f"chol_{name}_corr[{i}, {j}]" for i, j in _pairs(size))
        deterministics = {
            f"sd_{name}": {"expr": f"1 * chol_{name}_stds", "dims": [self.effect_dim]},
            f"cor_{name}": {"expr": f"stack({pairs})", "dims": [f"{name}_pair"]},
        }
        helpers = frozenset({f"chol_{name}", f"chol_{name}_corr", f"chol_{name}_stds"})
        return Part(expression, priors, deterministics, helpers=helpers, notes=(note,))

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Compute the Cholesky factor of the posterior's sds and correlations."""
        if not self.correlated:
            return ()
        size, name = len(self.design.columns), self.name
        sd = variable(f"sd_{name}", (self.effect_dim,), (size,))
        pairs = size * (size - 1) // 2
        # ones, from which shapes are inferred, are not valid correlations
        correlations = replace(variable(f"cor_{name}", (f"{name}_pair",), (pairs,)), sample=np.zeros(pairs))
        matrix = compute("correlations", [correlations], (None, None), size)
        factor: Value = compute("scaled_cholesky", [matrix, sd], (None, None))
        parts = {f"chol_{name}": factor, f"chol_{name}_corr": matrix, f"chol_{name}_stds": sd.named((None,))}
        return tuple(Deterministic(part, value, ()) for part, value in parts.items())

    def _is_intercept(self) -> bool:
        return self.design.columns == (INTERCEPT,)

    def _expression(self) -> str:
        code = f"{self.dim}_code"
        if self._is_intercept():
            return f"r_{self.name}[:, 0][{code}]"
        return f"sum(r_{self.name}[{code}] * {self.name}_design, {self.effect_dim})"

    def _scales(self, setting: Setting) -> NDArray[Any]:
        """Return `term_scale` of each effect: `s` for an intercept or a level, `s / sd(column)` for a slope."""
        flat = self.sds <= 1e-12 * np.abs(self.means)
        scales = np.where(flat, setting.spread, setting.spread / np.where(flat, 1.0, self.sds))
        labelled = [j for t in self.design.terms if t.labels is not None for j in range(t.start, t.stop)]
        scales[labelled] = setting.spread
        return np.asarray(scales)

    def _sd_prior(self, setting: Setting) -> tuple[Mapping[str, Any], str]:
        """Return the prior of all sds, with one number per effect if they differ."""
        section = setting.priors["sd"]
        given, key = _of_grouping(section, self, "model.priors.sd")
        scales = self._scales(setting)
        if "dist" in given:
            found = numbers_of(given, key, scales, setting.data)
            return as_vector([found], [len(scales)]) or found, key
        own = {**{column: section[DEFAULT] for column in self.design.columns}, **given}
        unknown = [column for column in given if column not in self.design.columns]
        if unknown:
            hint = f"effects of {self.name}: {', '.join(self.design.columns)}"
            raise fail(f"{key}.{unknown[0]}", f"'{unknown[0]}' does not vary between groups", hint)
        numbers = [
            numbers_of(own[column], f"{key}.{column}", scale, setting.data)
            for column, scale in zip(self.design.columns, scales, strict=True)
        ]
        vector = as_vector(numbers, [1] * len(numbers))
        if vector is None:
            raise fail(key, "the sds of one grouping must have priors of one family", "give all the same dist")
        return vector, key

    def _correlation(self, setting: Setting) -> float:
        given, key = _of_grouping(setting.priors["cor"], self, "model.priors.cor")
        eta = given.get("eta", 1.0)
        if given.get("dist") not in ("LKJ", "LKJCorr", "LKJCholeskyCov") or not isinstance(eta, int | float):
            raise fail(key, "correlations have an LKJ prior", "write {dist: LKJ, eta: 2}")
        return float(eta)

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


def _of_grouping(section: Mapping[str, Any], fitted: FittedGroups, key: str) -> tuple[Mapping[str, Any], str]:
    names = [fitted.name, f"{fitted.prefix}{':'.join(fitted.effects.term.columns)}", DEFAULT]
    found = next(name for name in names if name in section)
    return section[found], f"{key}.{found}"


def _pairs(size: int) -> list[tuple[int, int]]:
    """Return the positions below the diagonal, row by row."""
    return [(i, j) for i in range(size) for j in range(i)]


def _not_over_rows(rows: Rows, columns: Sequence[str], key: str) -> list[Problem]:
    return [
        Problem(key, f"'{name}' must be over the rows, one label each", "a grouping is a column")
        for name in columns
        if row_column(rows.data, name).dims != (rows.dim,)
    ]


def _label_column(rows: Rows, name: str) -> xr.DataArray:
    """Return a grouping's column as labels, even if the name is that of a factor's codes."""
    of = rows.data[name].attrs.get(LABELS)
    return row_column(rows.data, str(of) if of is not None else name)


def _row_keys(rows: Rows, columns: Sequence[str]) -> NDArray[Any]:
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
