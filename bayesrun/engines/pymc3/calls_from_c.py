"""Calls of Python from C: one module may have operations in it that have no C code of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from theano.graph.basic import Apply, NoParams
from theano.graph.op import COp
from theano.graph.type import generic


class CalledFromC(COp):  # type: ignore[misc]
    """An operation without C code of its own, which C code of other operations calls: a graph can be one module then.

    Parameters
    ----------
    node
        The node whose operation is called; that of this operation takes its place.
    """

    params_type = generic

    def __init__(self, node: Apply) -> None:
        self.called = node.op
        self._call = _Call(node)
        for kind in ("view_map", "destroy_map"):  # which outputs are made in the place of which inputs
            if getattr(node.op, kind, None):
                setattr(self, kind, getattr(node.op, kind))

    def __str__(self) -> str:
        return f"CalledFromC{{{self.called}}}"

    def make_node(self, *inputs: Any) -> Apply:
        """Make the node, with outputs of the same types as those of the operation."""
        return Apply(self, list(inputs), [kind() for kind in self._call.types])

    def get_params(self, node: Apply) -> Any:
        """Return what C calls."""
        return self._call

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]], params: Any = None) -> None:
        """Call the operation."""
        for output, value in zip(outputs, self._call(*inputs), strict=True):
            output[0] = value

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes that the operation gives."""
        shapes_of: list[Any] = self.called.infer_shape(fgraph, node, shapes)
        return shapes_of

    def c_code(self, node: Apply, name: str, inputs: list[str], outputs: list[str], sub: dict[str, Any]) -> str:
        """Call Python with the inputs; a failed call leaves its exception to Theano."""
        given = "".join(f", (PyObject*){one}" for one in inputs)
        taken = "".join(
            f"Py_XDECREF({one}); {one} = (PyArrayObject*)PyTuple_GET_ITEM(found, {place}); Py_INCREF({one});\n"
            for place, one in enumerate(outputs)
        )
        return f"""
        {{
            PyObject* found = PyObject_CallFunctionObjArgs({sub["params"]}{given}, NULL);
            if (!found) {{ {sub["fail"]} }}
            {taken}
            Py_DECREF(found);
        }}
        """

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Return the version of the C code."""
        return (1,)


class _Call:
    """`perform` of a node, as a function from arrays to a tuple of arrays."""

    def __init__(self, node: Apply) -> None:
        self.node, self.types = node, [v.type for v in node.outputs]
        node.op.prepare_node(node, None, None, "py")

    def __call__(self, *inputs: Any) -> tuple[NDArray[Any], ...]:
        outputs: list[list[Any]] = [[None] for _ in self.types]
        self.node.op.perform(self.node, list(inputs), outputs, *self._params())
        return tuple(np.asarray(found, kind.dtype) for (found,), kind in zip(outputs, self.types, strict=True))

    def _params(self) -> tuple[Any, ...]:
        params = self.node.run_params()
        return () if params is NoParams else (params,)
