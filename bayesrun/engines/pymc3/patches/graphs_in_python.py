"""Make graphs without compiling C for their test values, which nobody but Theano itself looks at.

Theano compiles each operation of a graph to evaluate it once. Functions that are made meanwhile are made without C,
too, unless `functions_in_c` is applied.

Versions: Theano-PyMC 1.1.2.
Buys: 17 s of 27 s where nothing is compiled yet, together with `functions_in_c`.
"""

from __future__ import annotations

import theano

from bayesrun.engines.pymc3.patches.base import Patch, Undo


def _apply() -> Undo:
    # the interpreter evaluates a fused operation number by number: fast_compile leaves operations apart
    flags = theano.config.change_flags(cxx="", optimizer="fast_compile")
    flags.__enter__()
    return lambda: flags.__exit__(None, None, None)


PATCH = Patch(_apply, "compile")
