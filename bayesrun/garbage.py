"""How often Python looks for garbage: rarely, as imports and graphs make millions of objects that stay.

Imports nothing but the standard library's smallest parts: a process calls it before it imports anything else.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = 400_000, 5, 50


def collect_rarely() -> None:
    """Run the garbage collector less often.

    With Python's own thresholds, collecting costs a run 0.6 s. Called by each new process, before it imports anything.
    """
    gc.set_threshold(*_THRESHOLDS)


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Collect rarely for the time of a block, unless the process collects more rarely still, or not at all."""
    before = gc.get_threshold()
    if 0 < before[0] < _THRESHOLDS[0]:
        collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*before)
