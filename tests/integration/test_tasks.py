"""What a command does (`task=`), and the finished runs that it works on, through the real command."""

from __future__ import annotations

import pytest

from tests.conftest import Command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["task=nope"], "task: unknown task 'nope'"),
        (["task=sync", "run=/nowhere"], "run: '/nowhere' is not a run folder"),
        (["task=sync", "runs=[/a,/b]"], "run: '/b' is not a run folder"),
        (["task=sync", "sync.x=1"], "sync.x: unknown key 'x'"),
        (["task=sync", "trackin.x=1"], "trackin: unknown key 'trackin'"),
        (["task=verify", "run=last"], "run: has no meaning for task 'verify'"),
        (["task=prior", "run=/nowhere"], "run: '/nowhere' is not a run folder"),
        (["task=kfold", "run=/a", "runs=[/b]"], "runs: has no meaning for task 'kfold', which works on one run"),
        (["task=expand", "run=/nowhere"], "run: '/nowhere' is not a run folder"),
        (["-m", "task=sync"], "task: 'sync' can't be swept"),
    ],
)
def test_what_is_wrong_with_a_task_is_told(bayesrun: Command, arguments: list[str], said: str) -> None:
    done = bayesrun(*arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_there_is_no_last_run_yet(bayesrun: Command, tmp_path) -> None:
    done = bayesrun("task=sync", "run=last", f"paths.outputs={tmp_path}")
    assert done.returncode == 1
    assert f"run: there is no run below '{tmp_path}'" in done.stderr
