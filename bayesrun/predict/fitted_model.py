"""The fitted design of a run, data and model: one immutable value, in memory and in the run folder (`design.json`).

Together with the draws, it is all that is needed to predict new rows from a finished run: what is learned by the data
(levels, types, reductions in `derive`) and by the model (means, knots, contrasts, reductions in its expressions), and
the axes of the model's variables. Long arrays are stored next to it in `design.npz`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.design import FittedDesign
from bayesrun.errors import fail
from bayesrun.language.declaration import Declaration, Deterministic, Likelihood, ModelDesign, Random
from bayesrun.language.formula_state import plain_design, restored_design
from bayesrun.language.formulas import parse
from bayesrun.language.learned import LearnedValue
from bayesrun.language.plan import variables_of
from bayesrun.models.base import Quantity
from bayesrun.run_folder import RunFolder

DESIGN, ARRAYS = "design.json", "design.npz"
_LONG = 2_000
"""Minimum length of a list that is stored as an array in `design.npz`."""


@dataclass(frozen=True)
class FittedModel:
    """What a fit has learned that is needed for new rows.

    Parameters
    ----------
    data
        The fitted design of the data.
    model
        What is learned by the model.
    quantities
        Variables of the model from the user's point of view, without auxiliary variables.
    likelihoods
        Dims of each likelihood.
    data_digest
        Digest of the fitted data.
    """

    data: FittedDesign
    model: ModelDesign
    quantities: Mapping[str, Quantity]
    likelihoods: Mapping[str, tuple[str, ...]]
    data_digest: str | None = None

    def plain(self) -> dict[str, Any]:
        """Return plain values that can be stored as JSON."""
        formula = None if self.model.formula is None else plain_design(self.model.formula)
        return {
            "data_digest": self.data_digest,
            "data": self.data.plain(),
            "rows": self.model.rows,
            "constants": {text: constant.plain() for text, constant in self.model.constants.items()},
            "formula": formula,
            "terms": dict(self.model.terms),
            "quantities": {n: [list(q.dims), list(q.shape), q.known] for n, q in self.quantities.items()},
            "likelihoods": {name: list(dims) for name, dims in self.likelihoods.items()},
        }

    @classmethod
    def from_plain(cls, content: Mapping[str, Any], formula: str | None) -> FittedModel:
        """Rebuild it from the result of `plain` and the text of the model's formula, if it has one."""
        learned = content["formula"]
        design = (
            None if learned is None or formula is None else restored_design(learned, parse(formula, "model.formula"))
        )
        constants = {text: LearnedValue.from_plain(of) for text, of in content["constants"].items()}
        return cls(
            FittedDesign.from_plain(content["data"]),
            ModelDesign(constants, design, content["rows"], content.get("terms", {})),
            {
                n: Quantity(tuple(dims), tuple(shape), known)
                for n, (dims, shape, known) in content["quantities"].items()
            },
            {name: tuple(dims) for name, dims in content["likelihoods"].items()},
            content["data_digest"],
        )


def fitted_model(declared: Declaration, data: FittedDesign, digest: str | None, formula: str | None) -> FittedModel:
    """Return what a fit has learned.

    It is the same as what is read from the folder of a finished run: predictions right after the fit and later agree.

    Parameters
    ----------
    declared
        The declaration of the fit.
    data
        The fitted design of its data.
    digest
        Digest of the data.
    formula
        The text of the model's formula; None if it has none.
    """
    quantities: dict[str, Quantity] = {}
    likelihoods: dict[str, tuple[str, ...]] = {}
    shown = declared.reported or declared
    for item in shown.items:
        if isinstance(item, Random) and item.name not in shown.helpers:
            quantities |= {n: Quantity(v.dims, v.shape) for n, v in variables_of(item.plan).items()}
        elif isinstance(item, Deterministic):
            quantities[item.name] = Quantity(item.value.dims, item.value.shape, item.value.known is not None)
        elif isinstance(item, Likelihood):
            likelihoods[item.name] = item.observed.dims
            missing = item.observed.missing
            if missing is not None:
                quantities[f"{item.name}_missing"] = Quantity((missing.dim,), (int(missing.mask.sum()),))
    for hidden in shown.hidden:
        quantities |= {name: Quantity(hidden.dims[name], shape) for name, shape in hidden.shapes.items()}
    design = replace(declared.design, rows=declared.design.rows or data.dim)
    made = FittedModel(data, design, quantities, likelihoods, digest)
    return FittedModel.from_plain(json.loads(json.dumps(made.plain())), formula)


def write_design(fitted: FittedModel, folder: RunFolder) -> None:
    """Write `design.json` and, if there are long arrays, `design.npz`."""
    arrays: dict[str, NDArray[Any]] = {}
    folder.write_data(DESIGN, _without_arrays(fitted.plain(), arrays))
    if arrays:
        folder.write(ARRAYS, lambda path: _save(path, arrays))


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_design(folder: Path, formula: str | None) -> FittedModel:
    """Read the fitted design of a finished run.

    Raises
    ------
    UserError
        When the run has no fitted design.
    """
    path = folder / DESIGN
    if not path.is_file():
        raise fail(
            "run", f"'{folder}' has no {DESIGN}", "predict from a run that has data, made by this version or later"
        )
    arrays: Mapping[str, Any] = {}
    if (folder / ARRAYS).is_file():
        with np.load(folder / ARRAYS, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    return FittedModel.from_plain(_with_arrays(json.loads(path.read_text(encoding="utf-8")), arrays), formula)


def _without_arrays(content: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Move long lists of numbers from plain values to arrays."""
    if isinstance(content, Mapping):
        return {key: _without_arrays(value, arrays) for key, value in content.items()}
    if not isinstance(content, list):
        return content
    array = _numbers(content)
    if array is None or array.size < _LONG:
        return [_without_arrays(value, arrays) for value in content]
    name = f"array_{len(arrays)}"
    arrays[name] = array
    return {"stored_array": name}


def _numbers(content: list[Any]) -> NDArray[Any] | None:
    """Return a list, or lists of equal length, as an array of numbers; None for anything else."""
    nested = bool(content) and isinstance(content[0], list)
    if nested and len({len(row) if isinstance(row, list) else -1 for row in content}) != 1:
        return None
    flat = [value for row in content for value in row] if nested else content
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in flat):
        return None
    return np.array(content)


def _with_arrays(content: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(content, Mapping):
        name = content.get("stored_array")
        if name is not None:
            return arrays[name].tolist()
        return {key: _with_arrays(value, arrays) for key, value in content.items()}
    return [_with_arrays(value, arrays) for value in content] if isinstance(content, list) else content
