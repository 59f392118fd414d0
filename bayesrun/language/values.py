"""The values of expressions: arrays over named axes, as numbers while everything is known, as nodes otherwise.

Axes are aligned by name. An unnamed axis (of a list, of `stack`, of `shape: 2`) is aligned by position from
the right, as in NumPy, if the sizes allow it. Imported when something is computed, never while a config is parsed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.operations import OPERATIONS, Call, Constant, Node, Variable

MAX_SIZE = 200_000_000

Dims = tuple["str | None", ...]


class Fault(Exception):
    """An error at one place of an expression; the evaluator adds the place."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


@dataclass(frozen=True, eq=False)
class Value:
    """An array with optionally named axes. Python's arithmetic operators apply elementwise.

    Parameters
    ----------
    dims
        Name of each axis; None for an unnamed axis.
    shape
        Size of each axis.
    known
        The numbers, if they do not depend on a random variable.
    node
        How it is computed, if it depends on a random variable or is held in a data container.
    logical
        Whether it is the result of a comparison.
    date
        Whether the numbers are dates, in days since 1970-01-01.
    sample
        Numbers from which to infer a shape, if ones are not suitable (a random index).
    """

    dims: Dims
    shape: tuple[int, ...]
    known: Any = None
    node: Node | None = None
    logical: bool = False
    date: bool = False
    sample: Any = None

    __array_ufunc__ = None  # so that NumPy defers `array * value` to this class

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def named(self, dims: Sequence[str | None]) -> Value:
        """Return it with renamed axes."""
        return replace(self, dims=tuple(dims))

    def __add__(self, other: Operand) -> Value:
        return apply("add", [self, other])

    def __radd__(self, other: Operand) -> Value:
        return apply("add", [other, self])

    def __sub__(self, other: Operand) -> Value:
        return apply("subtract", [self, other])

    def __rsub__(self, other: Operand) -> Value:
        return apply("subtract", [other, self])

    def __mul__(self, other: Operand) -> Value:
        return apply("multiply", [self, other])

    def __rmul__(self, other: Operand) -> Value:
        return apply("multiply", [other, self])

    def __truediv__(self, other: Operand) -> Value:
        return apply("divide", [self, other])

    def __rtruediv__(self, other: Operand) -> Value:
        return apply("divide", [other, self])

    def __pow__(self, other: Operand) -> Value:
        return apply("power", [self, other])

    def __neg__(self) -> Value:
        return apply("negative", [self])

    def __gt__(self, other: Operand) -> Value:
        return apply("greater", [self, other])

    def __ge__(self, other: Operand) -> Value:
        return apply("greater_equal", [self, other])


Operand = Value | int | float | NDArray[Any]


def constant(array: Any, dims: Dims | None = None) -> Value:
    """Make a value from known numbers; without dims its axes are unnamed."""
    known = np.asarray(array)
    if known.dtype.kind == "b":
        known = known.astype(np.int64)
    if known.dtype.kind not in "iuf":
        raise Fault("is not numeric", "turn text into codes with data.factors")
    return Value((None,) * known.ndim if dims is None else dims, known.shape, known)


def replaceable(number: float) -> Value:
    """Make a value from a number that may differ in the next job of a sweep (`operations.Constant`)."""
    numbers = np.asarray(number, dtype=float)
    return Value((), (), node=Constant(numbers, replaceable=True), sample=numbers)


def fixed(number: float) -> Value:
    """Make a value from a number that is part of the model's structure, which an engine may fold."""
    numbers = np.asarray(number, dtype=float)
    return Value((), (), node=Constant(numbers), sample=numbers)


def variable(name: str, dims: Sequence[str | None], shape: Sequence[int]) -> Value:
    """Make the value of a random variable or deterministic."""
    return Value(tuple(dims), tuple(shape), node=Variable(name))


def node_of(value: Value) -> Node:
    """Return the node of a value; known numbers become a constant."""
    return Constant(value.known) if value.node is None else value.node


def compute(operation: str, arguments: Sequence[Value], dims: Dims | None = None, *settings: Any) -> Value:
    """Apply an operation.

    The shape of an unknown result is inferred by evaluating it on ones in NumPy.

    Parameters
    ----------
    operation
        Its name in `operations.OPERATIONS`.
    arguments
        Its arguments.
    dims
        Names of the result's axes; None for those of the first argument.
    settings
        Fixed settings, passed after the arguments.
    """
    with np.errstate(all="ignore"):
        sample = np.asarray(OPERATIONS[operation](*map(_sample, arguments), *settings))
    dims = arguments[0].dims if dims is None else dims
    if all(a.known is not None for a in arguments):
        return Value(dims, sample.shape, sample)
    return Value(dims, sample.shape, node=Call(operation, tuple(map(node_of, arguments)), settings))


def apply(operation: str, arguments: Sequence[Operand]) -> Value:
    """Apply an operation elementwise; the arguments' axes are aligned by name."""
    dims, aligned = align([a if isinstance(a, Value) else constant(a) for a in arguments])
    return compute(operation, aligned, dims)


def _sample(value: Value) -> Any:
    if value.known is not None:
        return value.known
    return np.ones(value.shape) if value.sample is None else value.sample


def check_size(shape: Sequence[int]) -> None:
    """Reject a result that would not fit into memory."""
    if math.prod(shape) > MAX_SIZE:
        raise Fault(f"would make an array of shape {tuple(shape)}", f"at most {MAX_SIZE:,} numbers are allowed")


@dataclass(eq=False)
class _Axis:
    """A common axis of several values."""

    name: str | None
    size: int

    def __str__(self) -> str:
        return f"'{self.name}' of size {self.size}" if self.name else f"an unnamed axis of size {self.size}"


def align(values: Sequence[Value]) -> tuple[Dims, list[Value]]:
    """Align values to common axes, by name.

    Parameters
    ----------
    values
        Any number of them.

    Returns
    -------
    dims : tuple
        Names of the common axes.
    values : list of Value
        The values, transposed and with axes of size 1 inserted, ready for NumPy's broadcasting.

    Raises
    ------
    Fault
        When axes conflict; the message names both.
    """
    axes: list[_Axis] = []
    placed: dict[int, list[_Axis]] = {}
    for i in sorted(range(len(values)), key=lambda i: (_nameless(values[i]), -values[i].ndim)):
        placed[i] = _place(values[i], axes)
    check_size([axis.size for axis in axes])
    return tuple(axis.name for axis in axes), [_arrange(v, placed[i], axes) for i, v in enumerate(values)]


def conform(value: Value, dims: Dims, shape: Sequence[int]) -> Value:
    """Align a value with given axes; missing axes get size 1, unless they are leading.

    Raises
    ------
    Fault
        When it has an axis that is not among them, or of a different size.
    """
    axes = [_Axis(name, size) for name, size in zip(dims, shape, strict=True)]
    wanted = list(axes)
    placed = _place(value, axes)
    if axes != wanted or any(axis.size != size for axis, size in zip(axes, shape, strict=True)):
        raise Fault(f"has {dims_text(value.dims, value.shape)}, which does not fit {dims_text(dims, shape)}")
    return _arrange(value, placed, axes)


def dims_text(dims: Dims, shape: Sequence[int]) -> str:
    """Format dims and sizes: `(school: 8, year: 3)`."""
    if not shape:
        return "no dims (a single number)"
    return f"dims ({', '.join(f'{d or chr(63)}: {n}' for d, n in zip(dims, shape, strict=True))})"


def _nameless(value: Value) -> bool:
    return all(name is None for name in value.dims)


def _place(value: Value, axes: list[_Axis]) -> list[_Axis]:
    """Find the common axis of each axis of a value; new ones are added to `axes`."""
    before = list(axes)
    found: list[_Axis | None] = [next((a for a in axes if n is not None and a.name == n), None) for n in value.dims]
    for number, axis in enumerate(found):
        if axis is not None and axis.size != value.shape[number]:
            raise Fault(f"dim {axis} meets dim '{axis.name}' of size {value.shape[number]}")
    for number in reversed(range(value.ndim)):
        if found[number] is None:
            right = value.ndim - 1 - number
            across = before[-1 - right] if right < len(before) else None
            found[number] = _meet(value, number, across, found, axes)
    return [axis for axis in found if axis is not None]


def _meet(value: Value, number: int, across: _Axis | None, found: list[_Axis | None], axes: list[_Axis]) -> _Axis:
    """Find or make the common axis for an axis with a name that no other axis has."""
    name, size = value.dims[number], value.shape[number]
    free = across is not None and across not in found and (name is None or across.name is None)
    if across is not None and free:
        if across.size == size or (name is None and size == 1) or (across.name is None and across.size == 1):
            across.name, across.size = across.name or name, max(across.size, size)
            return across
        if name is None:
            raise Fault(f"an axis of size {size} meets {across}", "sizes must be equal where dims have no names")
    new = _Axis(name, size)
    axes.insert(0 if name is None and across is None else _after(number, found, axes), new)
    return new


def _after(number: int, found: list[_Axis | None], axes: list[_Axis]) -> int:
    """Return the position of a new axis: before the axis that follows it in its own value, if that is new as well."""
    following = [axis for axis in found[number + 1 :] if axis is not None]
    return axes.index(following[0]) if following and following[0] is axes[-1] and len(following) > 0 else len(axes)


def _arrange(value: Value, placed: list[_Axis], axes: list[_Axis]) -> Value:
    positions = [placed.index(axis) if axis in placed else None for axis in axes]
    while positions and positions[0] is None:
        positions.pop(0)
    stretched = _stretched(value, placed)
    if positions == list(range(value.ndim)) and not stretched:
        return value
    names = tuple(axis.name for axis in axes[len(axes) - len(positions) :])

    settings = (tuple(positions), tuple(stretched))
    # the known numbers and the node are both kept, so that a data container remains one
    arranged = compute("rearrange", [value], names, *settings)
    node = arranged.node if value.known is None or value.node is None else Call("rearrange", (value.node,), settings)
    return replace(arranged, node=node, logical=value.logical)


def _stretched(value: Value, placed: list[_Axis]) -> list[int]:
    """Return the axes of size 1 that must be repeated, which an engine must know about."""
    return [i for i, axis in enumerate(placed) if value.shape[i] == 1 and axis.size > 1]
