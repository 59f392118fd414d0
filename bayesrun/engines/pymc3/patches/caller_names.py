"""Let Theano learn a caller's name without reading its source.

Theano calls `inspect.getframeinfo` for the name of the calling function; that opens the source file and looks through
all loaded modules for it.

Versions: Theano-PyMC 1.1.2.
Buys: 0.09 s per command.
"""

from __future__ import annotations

import inspect
from types import FrameType, SimpleNamespace

from theano.graph import toolbox

from bayesrun.engines.pymc3.patches.base import Patch, Undo


def _frame_info(frame: FrameType) -> SimpleNamespace:
    return SimpleNamespace(function=frame.f_code.co_name)


def _apply() -> Undo:
    original = toolbox.inspect
    toolbox.inspect = SimpleNamespace(currentframe=inspect.currentframe, getframeinfo=_frame_info)

    def undo() -> None:
        toolbox.inspect = original

    return undo


PATCH = Patch(_apply, "process")
