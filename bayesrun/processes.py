"""What a process of bayesrun sees to when it begins."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from typing import Any

_THRESHOLDS = 100_000, 20, 50
_POLL_SECONDS = 1.0


def collect_rarely() -> None:
    """Look for garbage less often.

    Imports and graphs make millions of objects that stay: Python's own thresholds cost a run 0.6 s of searching them.
    To be called by each process that begins, before it imports.
    """
    gc.set_threshold(*_THRESHOLDS)


def end_with_parent() -> None:
    """End this process when the one that started it is gone: it would wait for work for ever, or go on."""
    starter = multiprocessing.parent_process()
    if starter is not None:
        threading.Thread(target=_watch, args=[starter], daemon=True).start()


def _watch(starter: Any) -> None:
    if os.getppid() == starter.pid:
        while os.getppid() == starter.pid:
            time.sleep(_POLL_SECONDS)
    else:  # forked from a process that all are forked from
        starter.join()
    os._exit(1)
