"""Ctrl-C in a sweep: what is kept, what is printed, and that nothing keeps running."""

import json
import os
import signal
import subprocess

import psutil
import pytest

from tests.integration.sweeping import (
    RATE,
    ROOT,
    SHORT,
    bayesrun,
    children,
    command,
    only_sweep,
    runs,
    table_of,
    wait_for,
)

JOBS = 5


def start(outputs):
    """Start a sweep as a shell does: it and all of its processes are a group, and hear of Ctrl-C."""
    arguments = ["-m", "launcher=parallel", *SHORT, f"{RATE}=0.5,1,2,4,8"]
    return subprocess.Popen(
        command(outputs, *arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
        # a test suite in the background ignores SIGINT, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def begun(outputs):
    return list(outputs.glob("sweeps/*/*/[0-9]/status.json"))


def recorded(outputs):
    return list(outputs.glob("sweeps/*/*/.jobs/*.json"))


def is_tracked(record):
    return json.loads(record.read_text())["run_id"] is not None


MOMENTS = {
    "it waits for MLflow": lambda outputs: list(outputs.glob("sweeps/*/*/tracking.json")),
    "workers start": lambda outputs: [p for p in outputs.glob("sweeps/*/*/tracking.json") if is_tracked(p)],
    "the first job runs": begun,
    "one job is done": recorded,
    "two jobs are under way": lambda outputs: len(recorded(outputs)) >= 1 and len(begun(outputs)) >= 3,
}


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "alone"), [*((moment, False) for moment in MOMENTS), ("the first job runs", True)])
def test_ctrl_c_ends_all_and_resume_finishes_it(tmp_path, moment, alone):
    process = start(tmp_path)
    wait_for(lambda: MOMENTS[moment](tmp_path), process)
    family = psutil.Process(process.pid).children(recursive=True)
    if alone:  # from another terminal, by a cluster's scheduler
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert f"resume={only_sweep(tmp_path)}" in output
    _, alive = psutil.wait_procs(family, timeout=120)
    assert alive == []
    assert "running" not in {json.loads(path.read_text())["status"] for path in begun(tmp_path)}
    assert not list(tmp_path.glob(".running/*.json"))
    assert "RUNNING" not in {r.info.status for r in runs(tmp_path)}
    done = {p.stem for p in recorded(tmp_path) if json.loads(p.read_text())["status"] == "finished"}
    before = {r.data.tags["job"]: r.info.run_id for r in children(tmp_path)}
    status, _, err = bayesrun(tmp_path, f"resume={only_sweep(tmp_path)}")
    assert status == 0, err
    assert set(table_of(only_sweep(tmp_path))["status"]) == {"finished"}
    after = {r.data.tags["job"]: r.info.run_id for r in children(tmp_path)}
    assert sorted(after) == [str(job) for job in range(JOBS)]
    assert len(runs(tmp_path)) == JOBS + 1
    assert {r.info.status for r in runs(tmp_path)} == {"FINISHED"}
    assert all(after[job] == before[job] for job in done)
