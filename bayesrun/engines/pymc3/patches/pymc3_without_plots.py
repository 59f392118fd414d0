"""Keep PyMC3 from importing the plots of ArviZ, and with them Matplotlib, which are imported when pictures are drawn.

PyMC3 repeats the plots and statistics of ArviZ under its own name. They can still be imported and used.

Versions: PyMC3 3.11, ArviZ 0.12.
Buys: 0.22 s until the verdict of a command.
"""

from __future__ import annotations

from contextlib import ExitStack

from bayesrun.engines.pymc3.patches.base import Patch, Undo
from bayesrun.partial_imports import arviz_without_plots, bare


def _apply() -> Undo:
    stack = ExitStack()
    stack.enter_context(arviz_without_plots())
    stack.enter_context(bare("pymc3", ["plots", "stats"]))
    return stack.close


PATCH = Patch(_apply, "import")
