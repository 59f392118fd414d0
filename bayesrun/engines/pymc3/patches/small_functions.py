"""Compile functions of little data with fewer of the compiler's optimizations.

One module holds the whole graph of a model as a single C function of some thousand lines, on which GCC spends most of
its time in passes that pay off in loops over long vectors. Over a few hundred rows, gradients take the same time
without them.

Versions: Theano-PyMC 1.1.2 with GCC.
Buys: half of the compiler's time where nothing is compiled yet: 15.2 to 6.3 s for correlated group effects.
"""

from __future__ import annotations

from pathlib import Path

import theano

from bayesrun.engines.pymc3.patches.base import Patch, Undo
from bayesrun.engines.pymc3.patches.precompiled_headers import at_level

FLAGS = "-O1 -fexpensive-optimizations"
"""The second lets the compiler fuse multiplications and additions, so that results are those of `-O3` bit for bit."""


def _apply() -> Undo:
    flags = theano.config.gcc__cxxflags
    if "g++" in Path(theano.config.cxx).name:
        theano.config.gcc__cxxflags = f"{at_level(flags, 'O1')} {FLAGS}"  # of several -O, the last is taken

    def undo() -> None:
        theano.config.gcc__cxxflags = flags

    return undo


PATCH = Patch(_apply, "compile")
