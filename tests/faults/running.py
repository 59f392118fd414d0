"""A real run in a process of its own, to which something happens at a chosen moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import arviz as az
import psutil

from tests.conftest import ROOT

T = TypeVar("T")

NUTPIE = ("model=eight_schools", "sampler.target_accept=0.9")
COMPOUND = ("model=switchpoint", "model.options.form=compound")
LONG = ("sampler.draws=200000", "sampler.chains=2", "sampler.cores=2", "sampler.progress=false")
QUIET = ("tracking=none", "model.figures=[]", "predictive.prior=0", "diagnostics.log_likelihood=false")


@dataclass
class Run:
    """A run that was started."""

    process: subprocess.Popen[str]
    outputs: Path

    def folder(self) -> Path:
        return wait_for(lambda: next(self.outputs.glob("runs/*/*/config.yaml"), None)).parent

    def wait_for_draws(self, seconds: float = 0.0) -> Path:
        """Wait until each chain has stored a segment, and so many seconds more; return the run folder."""
        folder = self.folder()
        wait_for(lambda: _stored(folder) >= 2 or None)
        time.sleep(seconds)
        return folder

    def chains(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [child for child in own.children() if "bayesrun" in " ".join(child.cmdline())]

    def end(self, timeout: float = 120) -> str:
        output, _ = self.process.communicate(timeout=timeout)
        return output


def start(outputs: Path, *arguments: str) -> Run:
    command = [sys.executable, "-m", "bayesrun", *arguments, *QUIET, f"paths.outputs={outputs}"]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=_hear_interrupts
    )
    return Run(process, outputs)


def status(folder: Path) -> dict[str, str | None]:
    return json.loads((folder / "status.json").read_text())


def kept_draws(folder: Path) -> tuple[int, int]:
    """Return chains and draws of `posterior.nc`."""
    posterior = az.from_netcdf(folder / "posterior.nc").posterior
    return posterior.sizes["chain"], posterior.sizes["draw"]


def wait_for(look: Callable[[], T | None], seconds: float = 60) -> T:
    end = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


def _stored(folder: Path) -> int:
    begun = [path.read_bytes()[:8] for path in folder.glob("draws/1/chain-*.draws")]
    return sum(head == b"bayesrn1" for head in begun)


def _hear_interrupts() -> None:
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
