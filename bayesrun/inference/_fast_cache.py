"""Theano's compile cache, mended: what was compiled once is found again by other processes.

Theano-PyMC 1.1.2 has two faults by which every process compiles some modules again, and the cache grows without end:

- `DimShuffle` versions its C code by `hash` of its text, which Python salts in each process;
- an operation without parameters (`__props__ = ()`) counts as one without a version, and with it the whole module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import wraps
from typing import Any


def mend_cache() -> None:
    """Mend the keys of Theano's compile cache; to be called once, after Theano is imported."""
    from theano.link.c.basic import CLinker
    from theano.tensor.elemwise import DimShuffle

    DimShuffle.c_code_cache_version = _version
    CLinker.cmodule_key = _with_versions(CLinker.cmodule_key)


def _version(operation: Any) -> tuple[Any, ...]:
    digest = hashlib.sha256("".join(operation.func_codes).encode()).hexdigest()
    return (int(digest[:12], 16), operation.params_type.c_code_cache_version())


def _with_versions(original: Any) -> Any:
    @wraps(original)
    def cmodule_key(linker: Any) -> Any:
        key = original(linker)
        return key if key is None or key[0] else (_versions(linker.node_order), key[1])

    return cmodule_key


def _versions(nodes: Iterable[Any]) -> tuple[Any, ...]:
    """Return the versions of operations and types; empty when one of them has none."""
    versions: list[Any] = []
    for node in nodes:
        versions.append(node.op.c_code_cache_version_apply(node))
        versions += [variable.type.c_code_cache_version() for variable in (*node.inputs, *node.outputs)]
    return tuple(versions) if all(versions) else ()
