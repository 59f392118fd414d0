"""PyMC3 on Theano. Nothing outside this folder imports either; they are imported when a run first needs them.

This file is the entry point: it imports neither. The other modules import both at their top, which is safe once this
package is imported, because it sets the flags that Theano reads once, on import.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from bayesrun.engines.pymc3.compile_cache import flags_for_own_cache
from bayesrun.engines.pymc3.patches.base import NAMES

if TYPE_CHECKING:
    from bayesrun.engines.base import CompiledModel

log = logging.getLogger("bayesrun.theano")

IMPORTED_BEFORE = (
    "Theano was imported before bayesrun: its settings stay as they were read then, and so does its compile cache. "
    "To let bayesrun set them, import PyMC3 and Theano after the first run"
)
_set_for: list[str] = []
"""Not empty when the flags were set before Theano was imported, or when it was said that they could not be."""

_FLAGS = {
    "blas__ldflags": "",  # Theano asks NumPy for blas_opt_info, which NumPy >= 1.22 lacks, unless this is set
    "traceback__limit": "0",  # the stack at which each variable was made, for Theano's errors, is 4% of a command
}


class PyMC3Engine:
    """The engine `pymc3` (see `bayesrun.engines.base.Engine`)."""

    patches: tuple[str, ...] = NAMES

    def set_up(self, patches: Literal["all", "none"] | Sequence[str] = "all") -> None:
        """Import PyMC3, and switch the patches that are named on and all others off."""
        _set_flags()
        if not _set_for:
            _set_for.append("nothing")
            log.warning(IMPORTED_BEFORE)
        from bayesrun.engines.pymc3.theano_setup import import_pymc3

        import_pymc3(NAMES if patches == "all" else () if patches == "none" else patches)

    def compile(self, declared: Any) -> CompiledModel:
        """Build the model of a declaration, or take the last one that was built if it is the same."""
        from bayesrun.engines.pymc3.build import build
        from bayesrun.engines.pymc3.kept_models import kept_or_built
        from bayesrun.engines.pymc3.model import PyMC3Model

        return kept_or_built(declared, lambda: PyMC3Model(build(declared)))

    def draw(self, distribution: str, parameters: Any, shape: tuple[int, ...], seed: int) -> Any:
        """Draw from a distribution without a model."""
        from bayesrun.engines.pymc3.predictive import draw

        return draw(distribution, parameters, shape, seed)

    def begin_run(self) -> None:
        """Let functions that earlier runs of this process compiled be used with other numbers."""
        from bayesrun.engines.pymc3.compiled_functions import begin_run

        begin_run()

    def compiler(self) -> str:
        """Return the C++ compiler that Theano uses; empty when there is none."""
        from bayesrun.engines.pymc3.theano_setup import compiler

        return compiler()


def _set_flags() -> None:
    """Set what Theano reads once, when it is imported; of one that is imported already, nothing can be set."""
    if "theano" in sys.modules:
        return
    given = os.environ.get("THEANO_FLAGS", "")
    wanted = {**_FLAGS, **({"cxx": ""} if not shutil.which("g++") and "cxx=" not in given else {})}
    added = [f"{name}={value}" for name, value in wanted.items() if f"{name}=" not in given]
    moved = [f"{name}={value}" for name, value in flags_for_own_cache(given).items()]  # the last one of a name counts
    _set_for.append("theano")
    os.environ["THEANO_FLAGS"] = ",".join([*added, *([given] if given else []), *moved])


_set_flags()
ENGINE = PyMC3Engine()
