"""How often Python looks for garbage."""

from __future__ import annotations

import gc

_THRESHOLDS = 100_000, 20, 50


def collect_rarely() -> None:
    """Look for garbage less often.

    Imports and graphs make millions of objects that stay: Python's own thresholds cost a run 0.6 s of searching them.
    To be called by each process that begins, before it imports.
    """
    gc.set_threshold(*_THRESHOLDS)
