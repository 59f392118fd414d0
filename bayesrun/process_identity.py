"""Names for processes that stay right after the process has ended and its number was given to another."""

from __future__ import annotations

import socket

import psutil

_SAME_START_SECONDS = 30.0  # the start time moves with the system's clock; no number is given twice so soon


def process_label(pid: int) -> str:
    """Name a process of this host: `HOST:PID:SECONDS`, the time when it started."""
    return f"{socket.gethostname()}:{pid}:{_start_time(pid) or ''}"


def process_has_ended(label: str) -> bool:
    """Say whether a named process has ended; of another host's processes nothing is known, so they have not."""
    host, pid, started = _parts(label)
    if host != socket.gethostname() or not pid.isdigit():
        return False
    now = _start_time(int(pid))
    return now is None or (started is not None and abs(now - started) > _SAME_START_SECONDS)


def _parts(label: str) -> tuple[str, str, float | None]:
    host, _, rest = label.partition(":")
    pid, _, started = rest.partition(":")
    try:
        return host, pid, float(started)
    except ValueError:
        return host, pid, None


def _start_time(pid: int) -> float | None:
    """Return when a process started, in seconds since 1970; None where it has ended or is a zombie."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
