"""Submitit's files of a job hold no secret, and the job has it all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bayesrun.jobs.patches import seal_submissions
from bayesrun.jobs.sealing import MissingSecret, seal, unseal
from bayesrun.redaction import remember_texts, remembering_apart

URL = "postgresql://me:Sesame-42@host/db"


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("BAYESRUN_SEALED", "{}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))  # jobs import the calls of this file
    with remembering_apart():
        yield


def _job(url: str, more: dict[str, Any]) -> int:
    print("connects to", url)
    return len(url) if more["password"] == "Sesame-43" else 0


def _failing(url: str) -> None:
    raise ValueError(f"can't connect to {url}")


def _submit(folder: Path, call: Any, *arguments: Any) -> Any:
    submitit = pytest.importorskip("submitit")
    seal_submissions()
    executor = submitit.AutoExecutor(folder, cluster="local")
    executor.update_parameters(timeout_min=1)
    (job,) = executor.map_array(call, *[[argument] for argument in arguments])
    return job


def _files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_job_has_its_secrets_and_no_file_does(tmp_path: Path) -> None:
    remember_texts(["Sesame-43"])
    job = _submit(tmp_path, _job, URL, {"password": "Sesame-43"})
    assert job.result() == len(URL)
    assert b"connects to" in _files(tmp_path)
    assert b"Sesame" not in _files(tmp_path)


def test_an_error_of_a_job_is_told_without_secrets(tmp_path: Path) -> None:
    job = _submit(tmp_path, _failing, URL)
    assert "ValueError" in str(job.exception())
    assert b"Sesame" not in _files(tmp_path)


def test_a_job_without_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = seal(len, (URL,))
    monkeypatch.delenv("BAYESRUN_SEALED")
    with pytest.raises(MissingSecret, match="--export=NONE"):
        unseal(sealed)
