"""A real command in a terminal of its own: its output, its progress, and how to disturb it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.conftest import ROOT

PATIENCE = 90.0
"""Seconds that a command may take on a busy machine."""
_TOLD = re.compile(r"([\d,]+)/([\d,]+) draws")
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class StartedRun:
    """A command that was started.

    Parameters
    ----------
    arguments
        Of `python -m bayesrun`.
    outputs
        Its `paths.outputs`.
    environment
        Variables beside those of this process.
    """

    def __init__(self, arguments: Iterable[str], outputs: Path, environment: Mapping[str, str]) -> None:
        self.outputs, self.output, self.began = outputs, "", time.monotonic()
        self.told: list[tuple[float, int]] = []
        self._terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bayesrun", *map(str, arguments), f"paths.outputs={outputs}"],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "180", "LINES": "40", "TERM": "xterm", **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_the_terminal,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Keep the output, and when how many draws (tuning included) were told."""
        while True:
            try:
                text = os.read(self._terminal, 65536).decode(errors="replace")
            except (OSError, ValueError):
                return
            if not text:
                return
            self.output += _COLOURS.sub("", text)
            if found := _TOLD.findall(_COLOURS.sub("", text)):
                self.told.append((time.monotonic(), int(found[-1][0].replace(",", ""))))

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def folder(self) -> Path | None:
        """Return the run folder, once there is one."""
        found = sorted(self.outputs.glob("runs/*/*/config.yaml"), key=lambda path: path.stat().st_mtime)
        return found[-1].parent if found else None

    def log_holds(self, text: str) -> bool:
        folder = self.folder()
        with suppress(OSError):
            return folder is not None and text in (folder / "run.log").read_text(errors="replace")
        return False

    def maps(self, text: str) -> bool:
        """Say whether the command has loaded a library whose path holds a text."""
        with suppress(OSError):
            return text in Path(f"/proc/{self.process.pid}/maps").read_text(errors="replace")
        return False

    def chains(self) -> list[psutil.Process]:
        """Return the processes that draw: those that were forked from the command."""
        with suppress(psutil.Error):
            own = psutil.Process(self.process.pid)
            return [child for child in own.children() if child.cmdline() == own.cmdline()]
        return []

    def tracker(self) -> psutil.Process | None:
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                if "bayesrun.tracking.tracker_process" in child.cmdline():
                    return child
        return None

    def signal(self, number: int, group: bool) -> None:
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, number)

    def type_ctrl_c(self) -> None:
        with suppress(OSError):
            os.write(self._terminal, b"\x03")

    def hang_up(self) -> None:
        """Close the terminal: the kernel sends SIGHUP, and whatever is printed from now on fails."""
        terminal, self._terminal = self._terminal, -1
        os.close(terminal)

    def kill_all(self) -> None:
        """Kill the command, its chains and its tracker at once, as a power cut does."""
        tracker = self.tracker()
        self.signal(signal.SIGKILL, group=True)
        with suppress(psutil.Error):
            if tracker:
                tracker.kill()

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """Wait for the end; return the exit status, None where there is no end."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(0.5)
        return status

    def left_processes(self) -> list[int]:
        """Return the processes of its session that are still there."""
        found = []
        for process in psutil.process_iter(["pid", "status"]):
            with suppress(psutil.Error, OSError):
                same = os.getsid(process.info["pid"]) == self.process.pid
                if same and process.info["status"] != psutil.STATUS_ZOMBIE:
                    found.append(process.info["pid"])
        return found

    def clean_up(self) -> None:
        """Kill what is left of it."""
        self.kill_all()
        self.wait(10)
        for pid in self.left_processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(OSError):
            os.close(self._terminal)


def wait_until(look: Callable[[], bool], run: StartedRun, seconds: float = PATIENCE) -> bool:
    """Wait for a moment; return whether it came before the command had ended."""
    end = time.monotonic() + seconds
    while not run.ended and time.monotonic() < end:
        if look():
            return True
        time.sleep(0.004)
    return False


def _take_the_terminal() -> None:
    """Make the terminal the session's own, and hear interrupts, which a shell's background job ignores."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
