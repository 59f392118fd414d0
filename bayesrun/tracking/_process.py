"""Which process a run belongs to, and whether it still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path

TAG = "bayesrun.process"


def label(pid: int) -> str:
    """Name a process of this host so that a later one with the same number is told apart."""
    return f"{socket.gethostname()}:{pid}:{_started(pid)}"


def is_gone(process: str) -> bool:
    """Say whether a labelled process has ended; of other hosts' processes nothing is known, so they have not."""
    host, _, rest = process.partition(":")
    pid, _, started = rest.partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    return not _alive(int(pid)) or (started != "" and started != _started(int(pid)))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str:
    """Start time in clock ticks since boot; empty where the system does not tell."""
    try:
        # the name of the program, in brackets, may hold blanks
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
