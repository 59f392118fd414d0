"""Theano functions: compiled as one C module where that is possible and correct, and reused within a process.

One module (`patches.one_module`) is quicker to compile and to call than one for each operation. A loop, a lazy
operation or a registered Python function can't be part of it: then Theano's usual linker is taken. A function that was
made as one module is compared with Theano's Python implementation before it is used.

The jobs of a sweep mostly differ in the numbers of a prior or in the data: their graphs are optimized and compiled
once per process. For that, numbers are taken out of a graph before it is compiled, and become shared variables: the
parameters of priors, arrays, and what is computed of arrays alone, which is computed here once. All other constants
stay, so that Theano can simplify by them. What is compiled does not depend on whether a function is the first of its
kind: a job of a sweep draws what a single run draws.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import theano
import theano.tensor as tt
from numpy.typing import NDArray
from theano.compile.mode import Mode
from theano.graph.basic import Constant, ancestors, equal_computations, graph_inputs, io_toposort
from theano.graph.op import compute_test_value
from theano.tensor.sharedvar import TensorSharedVariable

from bayesrun.engines.pymc3.patches.base import applied, chosen, is_chosen
from bayesrun.engines.pymc3.patches.one_module import may_be_called, one_module_mode
from bayesrun.engines.pymc3.theano_setup import building, compiler, compiling

Point = Sequence[NDArray[Any]]

log = logging.getLogger("bayesrun.theano")

_LARGE = 100_000
"""Elements of a constant from which on temporaries are freed after use, as the usual linker does."""
_SMALL = 2_000
"""Elements of the longest array up to which the compiler's time matters more than that of a call."""
_TOLERANCE = 1e-8


def compile_function(inputs: Sequence[Any], outputs: Sequence[Any], points: Sequence[Point]) -> Any:
    """Compile a function.

    Parameters
    ----------
    inputs
        Theano variables; arrays.
    outputs
        Theano variables.
    points
        Values of the inputs at which one module's results are compared with Python's.

    Returns
    -------
    theano.Function
        Takes its inputs without checks (`trust_input`).
    """
    return compiled(inputs, outputs, partial(_make, points=points))


def _make(inputs: Sequence[Any], outputs: Sequence[Any], points: Sequence[Point]) -> Any:
    longest = _longest(outputs, points)
    whole = is_chosen("one_module") and compiler() and _all_in_c(outputs) and longest <= _LARGE
    with applied("small_functions") if longest <= _SMALL else nullcontext():
        function = _one_module(inputs, outputs, points) if whole else None
        if function is None:
            function = _compile(inputs, outputs)
    function.trust_input = True
    return function


def _one_module(inputs: Sequence[Any], outputs: Sequence[Any], points: Sequence[Point]) -> Any:
    """Return the function as one module, or None when that is impossible or does not agree with Python."""
    try:
        with applied("one_module"):
            function = _compile(inputs, outputs, one_module_mode())
            expected = _compile(inputs, outputs, Mode(linker="py", optimizer=None))
            if all(_agree(function(*point), expected(*point)) for point in points):
                return function
        log.warning("one C module for the whole graph gives different results from Python: compiled by operation")
    except NotImplementedError as reason:
        log.debug("compiled by operation: %s", reason)
    except Exception as reason:  # Theano's linker may fail in many ways, and there is another
        log.debug("compiled by operation: %s: %s", type(reason).__name__, reason)
    return None


def _compile(inputs: Sequence[Any], outputs: Sequence[Any], mode: Mode | None = None) -> Any:
    with compiling():
        return theano.function(list(inputs), list(outputs), mode=mode, on_unused_input="ignore")


def _agree(ours: Sequence[Any], expected: Sequence[Any]) -> bool:
    return all(
        np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
        for a, b in zip(ours, expected, strict=True)
    )


def _all_in_c(outputs: Sequence[Any]) -> bool:
    """Return whether every operation may be part of C code, so that no graph is optimized in vain."""
    return all(may_be_called(v.owner) for v in ancestors(outputs) if v.owner is not None)


def _longest(outputs: Sequence[Any], points: Sequence[Point]) -> int:
    """Return the number of elements of the longest array of a graph, data or parameters, but for data only read."""
    read = {v for one in ancestors(outputs) if getattr(_operation(one), "reads_data", False) for v in one.owner.inputs}
    inputs = [v for v in graph_inputs(outputs) if v not in read]
    values = [v.data if isinstance(v, Constant) else v.get_value(borrow=True) for v in inputs if _has_value(v)]
    return max((getattr(value, "size", 0) for value in (*values, *(x for point in points for x in point))), default=0)


def _operation(variable: Any) -> Any:
    return variable.owner and variable.owner.op


def _has_value(variable: Any) -> bool:
    return isinstance(variable, Constant) or hasattr(variable, "get_value")


def replaceable_number(value: Any) -> Any:
    """Return a number as a marked Theano constant: what is compiled must hold for other values, too."""
    constant = tt.TensorConstant(tt.TensorType("float64", ()), np.asarray(value, float))
    constant.tag.replaceable = True
    return constant


def is_replaceable(variable: Any) -> bool:
    """Return whether a Theano variable was made by `replaceable_number`."""
    return bool(getattr(variable.tag, "replaceable", False))


_MAX_KEPT = 24
"""Functions that are kept; each keeps its numbers, data among them, in memory."""
_MIN_INDEX = 8
"""Longest array of whole numbers that stays in a graph: shapes are such arrays, and must be known."""

Make = Callable[[Sequence[Any], Sequence[Any]], Any]


@dataclass
class _Kept:
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    numbers: Sequence[Any]
    function: Any
    run: int
    patches: frozenset[str]

    def computes(self, inputs: Sequence[Any], outputs: Sequence[Any], numbers: Sequence[Any]) -> bool:
        if self.patches != chosen():  # it would be compiled differently now
            return False
        if len(inputs) != len(self.inputs) or len(outputs) != len(self.outputs) or len(numbers) != len(self.numbers):
            return False
        if any(_value(a).shape != _value(b).shape for a, b in zip(numbers, self.numbers, strict=True)):
            return False
        with suppress(RecursionError):  # of a very deep graph, which is compiled again
            ours, theirs = [*inputs, *numbers], [*self.inputs, *self.numbers]
            return bool(equal_computations(list(outputs), list(self.outputs), ours, theirs))
        return False

    def is_free(self, numbers: Sequence[Any], run: int) -> bool:
        """Return whether its numbers may be changed: not while the run that uses it may still call it."""
        return self.run != run or all(
            np.array_equal(_value(a), _value(b)) for a, b in zip(numbers, self.numbers, strict=True)
        )


_kept: list[_Kept] = []
_run = 0


def begin_run() -> None:
    """From here on, functions that earlier runs of this process were given may be used with other numbers."""
    global _run
    _run += 1


def current_run() -> int:
    """Return the number of the run: a function that was given in it computes with the same numbers until its end."""
    return _run


def count_kept() -> int:
    """Return how many functions are kept for later runs."""
    return len(_kept)


def forget() -> None:
    """Keep no function of the runs so far."""
    _kept.clear()


def compiled(inputs: Sequence[Any], outputs: Sequence[Any], make: Make) -> Any:
    """Compile a function, or take one of an earlier run whose graph differs in numbers only.

    Parameters
    ----------
    inputs, outputs
        Theano variables.
    make
        Compiles `(inputs, outputs)`; its outputs are equal to those given, with numbers taken out.

    Returns
    -------
    Any
        What `make` returned, for this graph or an equal one.
    """
    inputs, numbers, lifted = _lifted(inputs, outputs)
    for kept in _kept:
        if kept.computes(inputs, lifted, numbers) and kept.is_free(numbers, _run):
            for old, new in zip(kept.numbers, numbers, strict=True):
                old.set_value(new.get_value(borrow=True), borrow=True)
            kept.run = _run
            return kept.function
    function = make(inputs, lifted)
    _kept.append(_Kept(inputs, lifted, numbers, function, _run, chosen()))
    del _kept[:-_MAX_KEPT]
    return function


def _lifted(inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Return new inputs, new shared variables of a graph's numbers in the order of the graph, and the graph of both."""
    with building(), theano.config.change_flags(compute_test_value="off"):
        numbers = {v: _shared(v) for v in _numbers(inputs, outputs)}
        free = {v: v.type(name=v.name) for v in inputs}
        lifted = theano.clone(list(outputs), {**free, **numbers})
        return list(free.values()), list(numbers.values()), list(lifted)


def _numbers(inputs: Sequence[Any], outputs: Sequence[Any]) -> dict[Any, None]:
    """Find the numbers below the inputs: of priors, shared, arrays and what depends on arrays alone."""
    leaves = list(dict.fromkeys([*inputs, *graph_inputs(list(outputs), blockers=list(inputs))]))
    fixed = {v for v in leaves if isinstance(v, Constant) and not is_replaceable(v)}
    found: dict[Any, None] = dict.fromkeys(v for v in outputs if v.owner is None and _is_given(v))
    for node in io_toposort(leaves, list(outputs)):
        if all(v in fixed for v in node.inputs):
            fixed.update(node.outputs)
        else:
            found.update(dict.fromkeys(_of_node(node, fixed)))
    return {v: None for v in found if v not in inputs}


def _of_node(node: Any, fixed: set[Any]) -> Iterator[Any]:
    for v in node.inputs:
        if (v in fixed and _is_array(v)) or (v.owner is None and _is_given(v)):
            yield v


def _is_given(variable: Any) -> bool:
    return is_replaceable(variable) or hasattr(variable, "get_value")


def _is_array(variable: Any) -> bool:
    if not getattr(variable.type, "ndim", 0) or all(variable.type.broadcastable):
        return False
    if variable.dtype == "float64":
        return True
    return bool(variable.dtype.startswith("int") and _fixed_value(variable).size > _MIN_INDEX)


def _shared(variable: Any) -> Any:
    value = _value(variable) if hasattr(variable, "get_value") else _fixed_value(variable)
    return TensorSharedVariable(type=variable.type, value=value, name=None, strict=True)


def _value(shared: Any) -> Any:
    return shared.get_value(borrow=True)


def _fixed_value(variable: Any) -> Any:
    """Compute a variable of constants alone; Theano keeps it as the test value."""
    if variable.owner is None:
        return variable.data
    for node in io_toposort([], [variable]):
        if any(not hasattr(v.tag, "test_value") for v in node.outputs):
            compute_test_value(node)
    return np.asarray(variable.tag.test_value, dtype=variable.dtype)
