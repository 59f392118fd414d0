"""Keep NumPy's look at compilers from importing all of setuptools in the place of Python's own distutils.

Theano imports `numpy.distutils`; with setuptools installed, its import hook answers for `distutils`.

Versions: setuptools 60 to 65 with Python 3.10.
Buys: 0.1 s per command.
"""

from __future__ import annotations

from contextlib import suppress

from bayesrun.engines.pymc3.patches.base import Patch, Undo


def _apply() -> Undo:
    with suppress(ImportError, AttributeError):
        import _distutils_hack

        _distutils_hack.remove_shim()
    # the hook is left off: setuptools complains of a distutils that was imported before it
    return lambda: None


PATCH = Patch(_apply, "import")
