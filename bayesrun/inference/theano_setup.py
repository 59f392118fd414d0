"""Theano's settings, in one place: import PyMC3 through here, never directly.

Theano compiles C for every operation that it evaluates, also for test values and for folding constants, and that is
most of the time before the first draw. Neither needs C: models are built with the compiler off (`building`), and
constants are folded by NumPy. Functions that sample are compiled as ever; their C is the same, and so are the draws.
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from types import ModuleType
from typing import Any

log = logging.getLogger("bayesrun.theano")

NO_COMPILER = (
    "no C++ compiler was found: Theano runs in Python, some 50 times slower. "
    "Install one (Debian: apt-get install g++; conda: conda install gxx) and run again."
)
# `import theano` asks NumPy for blas_opt_info, which NumPy >= 1.22 lacks, unless blas__ldflags is set. The stack at
# which each variable was made, which Theano keeps for its own error messages, is 4 % of a command.
_FLAGS = {"blas__ldflags": "", "traceback__limit": "0"}
_CHATTER = ("theano", "pymc3", "filelock", "arviz", "matplotlib", "numexpr", "h5py")


def import_pymc3() -> ModuleType:
    """Import PyMC3 with Theano's flags set, once a process; say loudly when there is no C++ compiler."""
    _quiet()
    _set_flags()
    _use_pythons_distutils()
    with warnings.catch_warnings(), _matplotlib_undocumented():
        warnings.simplefilter("ignore")
        import pymc3
        from theano.graph.op import Op

        from bayesrun.inference._fast_cache import use_content_cache

    use_content_cache()
    Op.python_constant_folding = lambda self, node: True  # Theano's own hook for it
    _vectorise_softplus()
    _name_callers_only()
    _read_code_once()
    if not compiler():
        log.warning(NO_COMPILER)
    module: ModuleType = pymc3
    return module


def _use_pythons_distutils() -> None:
    """Keep NumPy's look at compilers from importing all of setuptools in place of Python's own distutils."""
    with suppress(ImportError, AttributeError):
        import _distutils_hack

        _distutils_hack.remove_shim()


@contextmanager
def _matplotlib_undocumented() -> Iterator[None]:
    """Keep Matplotlib, which ArviZ imports, from writing the docstrings of all setters: a third of its import."""
    import matplotlib.artist as module

    kwdoc = module.kwdoc
    module.kwdoc = lambda artist: ""
    try:
        yield
    finally:
        module.kwdoc = kwdoc


def _vectorise_softplus() -> None:
    """Let test values of softplus be computed by NumPy: Theano's own Python takes seconds for a million rows."""
    import numpy as np
    import theano.tensor as tt

    def softplus(x: Any) -> Any:
        return np.logaddexp(0.0, x)

    softplus.nout = 1  # type: ignore[attr-defined]  # what Theano asks of NumPy's functions
    tt.nnet.softplus.ufunc = softplus


def _name_callers_only() -> None:
    """Keep Theano, which asks for a caller's name, from reading its source and looking through all modules for it."""
    import inspect
    from types import FrameType, SimpleNamespace

    from theano.graph import toolbox

    def getframeinfo(frame: FrameType) -> SimpleNamespace:
        return SimpleNamespace(function=frame.f_code.co_name)

    toolbox.inspect = SimpleNamespace(currentframe=inspect.currentframe, getframeinfo=getframeinfo)


def _read_code_once() -> None:
    """Keep Theano from reading the C file of `DimShuffle` for each one that is made, some 400 times a command."""
    from theano.graph.op import ExternalCOp

    load, read = ExternalCOp.load_c_code, dict[Any, Any]()

    def load_c_code(self: Any, func_files: list[str]) -> None:
        key = type(self), *func_files
        if key not in read:
            load(self, func_files)
            read[key] = self.func_codes, self.code_sections
        self.func_codes, self.code_sections = read[key]

    ExternalCOp.load_c_code = load_c_code


def compiler() -> str:
    """Return the C++ compiler that Theano uses; empty when there is none."""
    import theano

    return str(theano.config.cxx)


def compile_directory() -> str:
    """Return the folder of Theano's compile cache, which several processes can share."""
    import theano

    return str(theano.config.compiledir)


@contextmanager
def building() -> Iterator[None]:
    """Build models in here: test values are computed without compiling C for them."""
    import theano

    # the interpreter evaluates a fused operation number by number: fast_compile leaves operations apart
    with theano.config.change_flags(cxx="", optimizer="fast_compile"), _quiet_warnings():
        yield


@contextmanager
def compiling() -> Iterator[None]:
    """Compile functions in here: graphs are made as in `building`, what samples them is C without test values."""
    import theano

    original = theano.function
    flags = {"cxx": theano.config.cxx, "optimizer": theano.config.optimizer, "compute_test_value": "off"}

    @wraps(original)
    def in_c(*args: Any, **settings: Any) -> Any:
        with theano.config.change_flags(**flags):
            # Theano makes its default mode once, at the first function: that may have been one of `building`
            mode = settings.pop("mode", None) or theano.Mode(theano.config.linker, theano.config.optimizer)
            return original(*args, mode=mode, **settings)

    with building():
        theano.function = in_c
        try:
            yield
        finally:
            theano.function = original


def _set_flags() -> None:
    given = os.environ.get("THEANO_FLAGS", "")
    wanted = {**_FLAGS, **({"cxx": ""} if not shutil.which("g++") and "cxx=" not in given else {})}
    added = [f"{name}={value}" for name, value in wanted.items() if f"{name}=" not in given]
    os.environ["THEANO_FLAGS"] = ",".join([*added, *([given] if given else [])])


def _quiet() -> None:
    for name in _CHATTER:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _quiet_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        yield
