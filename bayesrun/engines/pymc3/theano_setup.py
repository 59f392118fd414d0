"""Theano's settings, in one place, and the import of PyMC3.

Theano compiles C for every operation that it evaluates, also for test values and for folding constants, and that is
most of the time before the first draw. Neither needs C: models are built with the compiler off (`building`), and
constants are folded by NumPy. Functions that sample are compiled as usual; their C is the same, and so are the draws.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from bayesrun.engines.pymc3.compile_cache import check_modules, guard_helpers, seal_helpers, told_where_unwritable
from bayesrun.engines.pymc3.patches.base import NAMES, applied, choose, is_chosen, switch

log = logging.getLogger("bayesrun.theano")

NO_COMPILER = (
    "no C++ compiler was found: Theano runs in Python, some 50 times slower. "
    "Install one (Debian: apt-get install g++; conda: conda install gxx) and run again."
)
_CHATTY = ("theano", "pymc3", "filelock", "arviz", "matplotlib", "numexpr", "h5py")


def import_pymc3(patches: Collection[str] = NAMES) -> ModuleType:
    """Import PyMC3 and switch patches; warn when there is no C++ compiler.

    Parameters
    ----------
    patches
        Names of those that are used from here on; all others are undone.
    """
    choose(patches)
    guard_helpers()
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), applied("python_distutils", "pymc3_without_plots"):
        warnings.simplefilter("ignore")
        with told_where_unwritable():
            import pymc3
            import theano
            from theano.compile.mode import get_default_mode

            compile_folder = Path(theano.config.compiledir)  # made when it is first asked for
    seal_helpers(compile_folder)
    if not is_chosen("content_cache"):
        check_modules(compile_folder)
    switch()
    with compiling():
        get_default_mode()  # Theano makes it once, from the settings of the first call
    if not compiler():
        log.warning(NO_COMPILER)
    module: ModuleType = pymc3
    return module


def compiler() -> str:
    """Return the C++ compiler that Theano uses; empty when there is none."""
    import theano

    return str(theano.config.cxx)


def compiler_of_functions() -> str:
    """Return the C++ compiler that functions can be compiled with, also in `building`; empty when there is none."""
    return compiler() or _outside[-1]


_outside = [""]
"""The compilers that Theano had before each `building` that is open."""


@contextmanager
def building() -> Iterator[None]:
    """Build models in this context: test values are computed without compiling C for them."""
    _outside.append(compiler_of_functions())
    try:
        with _quiet_warnings(), applied("graphs_in_python"):
            yield
    finally:
        _outside.pop()


@contextmanager
def compiling() -> Iterator[None]:
    """Compile functions in this context: graphs are made as in `building`, what samples them is C."""
    # without the first, functions made beside graphs in Python would be in Python, too
    patches = ("functions_in_c", "graphs_in_python") if is_chosen("functions_in_c") else ()
    with _quiet_warnings(), applied(*patches), told_where_unwritable():
        yield


@contextmanager
def _quiet_warnings() -> Iterator[None]:
    """Ignore the warnings of libraries that are older than what they use."""
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        yield
