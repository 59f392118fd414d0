"""Every use of formulaic's internals, in one place (tested with `VERSIONS`).

`register_materializer`
    What: a subclass of the materializer of pandas, whose `_evaluate` gets an expression in which equal calls differ.
    Why: formulaic keeps one state for equal calls in a factor, so that one of them would be computed from new rows.
`restored_spec`
    What: a `ModelSpec` made of its parts. Why: formulaic stores one as a pickle only, and reading that may run code.

`tests/unit/language/test_formulaic_patches.py` checks the versions, and that both are still needed and right.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from bayesrun.lazy import formulaic

VERSIONS = ">=1.0,<2"


@lru_cache(maxsize=1)
def register_materializer() -> str:
    """Register the materializer that evaluates a formula's factors, and return its name.

    formulaic keeps one state for identical calls in a factor: if `min(x)` occurs twice, one of the two
    would be computed from new rows. Here each call has its own state.
    """
    from interface_meta import override  # formulaic's own

    class Materializer(formulaic.materializers.PandasMaterializer):  # type: ignore[misc]
        REGISTER_NAME = "bayesrun"
        REGISTER_INPUTS = ()
        REGISTER_PRECEDENCE = 0.0

        @override  # type: ignore[untyped-decorator]
        def _evaluate(self, expr: str, metadata: Any, spec: Any) -> Any:
            return super()._evaluate(with_distinct_calls(expr), metadata, spec)

    return str(Materializer.REGISTER_NAME)


def with_distinct_calls(expr: str) -> str:
    """Make identical calls textually distinct: `min(x) + min(x)` becomes the equivalent `min(x) + min(+x)`."""
    tree = ast.parse(expr, mode="eval")
    seen: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            text = ast.unparse(node)
            for _ in range(seen.get(text, 0)):
                node.args[0] = ast.UnaryOp(ast.UAdd(), node.args[0])
            seen[text] = seen.get(text, 0) + 1
    return ast.unparse(tree) if any(count > 1 for count in seen.values()) else expr


def restored_spec(
    terms: Sequence[Any],
    structure: Sequence[Mapping[str, Any]],
    transforms: Mapping[str, Any],
    encodings: Mapping[str, tuple[str, Mapping[str, Any]]],
) -> Any:
    """Make the model spec that a design was learned with.

    Parameters
    ----------
    terms
        The parsed terms of the formula.
    structure
        Of each term the expressions of its factors (`term`), its products of factors (`scoped`) and its `columns`.
    transforms
        State of each transform, by expression.
    encodings
        Kind and state of each factor's encoding, by expression.
    """
    kinds = {kind.value: kind for kind in formulaic.parser.types.Factor.Kind}
    return formulaic.ModelSpec(
        formulaic.SimpleFormula(terms, _ordering="degree"),
        materializer=register_materializer(),
        na_action="ignore",
        output="pandas",
        structure=[_term_structure(terms, one) for one in structure],
        transform_state=dict(transforms),
        encoder_state={expr: (kinds[kind], dict(state)) for expr, (kind, state) in encodings.items()},
    )


def _term_structure(terms: Sequence[Any], content: Mapping[str, Any]) -> Any:
    types = formulaic.materializers.types
    term = next(t for t in terms if [f.expr for f in t.factors] == content["term"])
    factors = {factor.expr: factor for factor in term.factors}
    scoped = [
        types.ScopedTerm(
            [
                types.ScopedFactor(types.EvaluatedFactor(factors[expr], values=None), bool(reduced))
                for expr, reduced in of["factors"]
            ],
            scale=of["scale"],
        )
        for of in content["scoped"]
    ]
    return formulaic.model_spec.EncodedTermStructure(term, scoped, content["columns"])
