"""formulaic's internals are those that the patches were made for, and both patches are still needed."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pandas as pd
from formulaic import Formula
from packaging.specifiers import SpecifierSet

from bayesrun.language.formula_grammar import formula_functions
from bayesrun.language.formulaic_patches import VERSIONS, register_materializer, restored_spec

FITTED = pd.DataFrame({"x": [1.0, 2.0, 4.0], "g": ["a", "b", "c"]})
NEW = pd.DataFrame({"x": [10.0, 20.0], "g": ["c", "a"]})
TEXT = "1 + I((x - min(x)) / (max(x) - min(x))) + C(g)"
RIGHT = np.array([[1, 3.0, 0, 1], [1, 19 / 3, 0, 0]])


def _spec(materializer: str):
    options = {"materializer": materializer, "na_action": "ignore", "output": "pandas"}
    return Formula(TEXT).get_model_matrix(FITTED, context=formula_functions(), **options).model_spec


def _new_rows(spec) -> np.ndarray:
    return np.asarray(spec.get_model_matrix(NEW, context=formula_functions()), dtype=float)


def test_the_versions_are_those_of_the_installed_formulaic() -> None:
    assert SpecifierSet(VERSIONS).contains(version("formulaic"))


def test_equal_calls_have_a_state_each_which_formulaic_alone_does_not_give_them() -> None:
    np.testing.assert_allclose(_new_rows(_spec(register_materializer())), RIGHT)
    assert not np.allclose(_new_rows(_spec("pandas")), RIGHT)


def test_a_spec_that_is_made_of_its_parts_gives_the_same_columns() -> None:
    spec = _spec(register_materializer())
    structure = [
        {
            "term": [factor.expr for factor in one.term.factors],
            "scoped": [
                {"scale": s.scale, "factors": [[f.factor.expr, f.reduced] for f in s.factors]} for s in one.scoped_terms
            ],
            "columns": list(one.columns),
        }
        for one in spec.structure
    ]
    encodings = {expr: (kind.value, state) for expr, (kind, state) in spec.encoder_state.items()}
    made = restored_spec([one.term for one in spec.structure], structure, spec.transform_state, encodings)
    np.testing.assert_allclose(_new_rows(made), RIGHT)
