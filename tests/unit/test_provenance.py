"""Where a posterior comes from: digests that change with what matters and with nothing else."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bayesrun import provenance as module
from bayesrun.provenance import code_digest, config_digest, git_state, provenance, versions
from tests.composing import parsed

PLAIN: dict[str, Any] = {
    "seed": 1,
    "name": None,
    "experiment_name": "a",
    "tags": {},
    "model": {"name": "m", "priors": {"x": {"dist": "Normal", "sigma": 1}}, "figures": ["trace"]},
    "sampler": {"method": "nuts", "draws": 10, "cores": None, "progress": "auto"},
    "paths": {"outputs": "/tmp/a"},
    "tracking": {"backend": "none"},
    "store": {"compression": 4},
}


def changed(key: str, value: Any) -> dict[str, Any]:
    plain = copy.deepcopy(PLAIN)
    *parents, last = key.split(".")
    node = plain
    for parent in parents:
        node = node[parent]
    node[last] = value
    return plain


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "mine"), ("experiment_name", "b"), ("tags", {"a": 1}), ("paths.outputs", "/tmp/b"),
        ("tracking.backend", "mlflow"), ("store.compression", 0), ("sampler.cores", 2), ("sampler.progress", False),
        ("model.figures", []),
    ],
)  # fmt: skip
def test_what_does_not_change_the_draws_does_not_change_the_digest(key: str, value: Any) -> None:
    assert config_digest(changed(key, value)) == config_digest(PLAIN)


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 2), ("sampler.draws", 11), ("sampler.method", "smc"), ("model.priors.x.sigma", 2), ("data", {"a": 1})],
)
def test_what_changes_the_draws_changes_the_digest(key: str, value: Any) -> None:
    assert config_digest(changed(key, value)) != config_digest(PLAIN)


def test_the_order_of_keys_does_not_matter() -> None:
    assert config_digest(dict(reversed(PLAIN.items()))) == config_digest(PLAIN)


def test_the_record_has_what_the_design_names() -> None:
    config = parsed("model=linear_regression")
    record = provenance(config.plain, "0" * 64, "g++")
    expected = {
        "seed",
        "packages",
        "platform",
        "git_commit",
        "git_diff",
        "data_digest",
        "config_digest",
        "command_line",
    }
    assert {*expected, "command_line"} <= set(record)
    assert record["seed"] == 8927
    assert record["packages"]["pymc3"] == "3.11.6"
    assert record["config_digest"] == config_digest(config.plain)
    assert record["compiler"] == "g++"


def test_a_package_that_is_not_there_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "no-such-package"))
    found = versions()
    assert found["no-such-package"] is None
    assert found["numpy"]


def test_the_code_digest_is_that_of_the_files() -> None:
    assert len(code_digest()) == 64
    assert code_digest() == code_digest.__wrapped__()


def _git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_git_state_of_a_checkout_and_of_anything_else(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {"git_commit": None, "git_diff": None}
    package = tmp_path / "bayesrun"
    package.mkdir()
    (package / "provenance.py").write_text("a = 1\n")
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "-m", "first")
    clean = git_state(package)
    assert len(clean["git_commit"] or "") == 40
    assert clean["git_diff"] == ""
    (package / "provenance.py").write_text("a = 2\n")
    assert "+a = 2" in (git_state(package)["git_diff"] or "")
