"""Theano's compile cache, mended: what was compiled once is found again by other processes."""

from __future__ import annotations

import hashlib
from typing import Any


def mend_cache() -> None:
    """Give `DimShuffle` the same version in every process; to be called once, after Theano is imported.

    Theano-PyMC 1.1.2 versions this operation's C code by `hash` of its text, which Python salts in each process. So
    every process compiled it again, and with it whatever module contains it, and the cache grew without end.
    """
    from theano.tensor.elemwise import DimShuffle

    DimShuffle.c_code_cache_version = _version


def _version(operation: Any) -> tuple[Any, ...]:
    digest = hashlib.sha256("".join(operation.func_codes).encode()).hexdigest()
    return (int(digest[:12], 16), operation.params_type.c_code_cache_version())
