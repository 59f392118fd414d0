"""What YAML gives for a parameter: a number, a (nested) list, or an expression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bayesrun.errors import Problem, UserError
from bayesrun.language._evaluate import value_of
from bayesrun.language.grammar import parse
from bayesrun.language.scope import Scope
from bayesrun.language.values import Dims, Fault, Value, align, compute, constant


def read(given: Any, scope: Scope, key: str, dims: Dims = ()) -> Value:
    """Turn what YAML gives for a parameter into a value: a number, a (nested) list, or an expression.

    Parameters
    ----------
    given
        The number, list or text.
    scope
        What names mean.
    key
        Config key of it.
    dims
        Dims that an expression may have.
    """
    if isinstance(given, str):
        return value_of(parse(given, key), scope, dims)
    if not isinstance(given, Sequence):
        return constant(given)
    parts = [read(part, scope, f"{key}[{i}]", dims) for i, part in enumerate(given)]
    if all(part.known is not None and part.graph is None for part in parts):
        return constant([part.known for part in parts])
    try:
        return _rows(parts)
    except Fault as fault:
        raise UserError([Problem(key, fault.message, fault.hint)]) from None


def _rows(parts: Sequence[Value]) -> Value:
    """Put the elements of a list one below the other: the list's own axis comes first."""
    import numpy as np

    def in_theano(*arrays: Any) -> Any:
        import theano.tensor as tt

        return tt.stack(list(arrays), axis=0)

    dims, aligned = align(parts)
    if len({part.shape for part in aligned}) > 1:
        raise Fault("its elements differ in their axes")
    return compute(lambda *arrays: np.stack(arrays, axis=0), in_theano, aligned, (None, *dims))
