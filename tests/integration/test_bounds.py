"""Input that is far too large or deep is rejected within seconds, in a few lines, and nothing is created."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command
from tests.faults.started_run import StartedRun, wait_until

DIGITS = "7" * 400
LONG = "n" * 5000
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 12)
)
MODEL = "name: mine\ntype: linear_regression\ndefaults: [{/data@_global_.data: linear_regression}, _self_]\n"

FILES = {
    "aliases": (BOMB, "20,000 values"),
    "aliases of empty lists": (BOMB.replace("1", "[]", 10), "20,000 values"),
    "aliases of mappings": (
        "a0: &a0 {}\n" + "".join(f"a{k}: &a{k} {{l: *a{k - 1}, r: *a{k - 1}}}\n" for k in range(1, 40)),
        "20,000 values",
    ),
    "a defaults list": (
        f"defaults: [{', '.join(['{/data@x: radon}'] * 5_000)}]\n",
        "a defaults list of more than 100 entries",
    ),
    "an alias of itself": ("a: &a [*a]\n", ""),
    "nesting": (f"x: {'[' * 20_000}{']' * 20_000}\n", "nested more than"),
    "mappings": ("x: " + "{a: " * 20_000 + "1" + "}" * 20_000 + "\n", "nested more than"),
    "a long text": (f"name: {'n' * 2_000_000}\n", "bytes"),
    "a name": (MODEL.replace("mine", LONG), "5,000 characters"),
    "the name of a prior": (
        f"{MODEL}priors:\n  ? {LONG}\n  : {{dist: Normal, mu: 0, sigma: 1}}\n",
        "5,000 characters",
    ),
    "a number": (f"{MODEL}priors: {{alpha: {{dist: Normal, mu: {DIGITS}, sigma: 1}}}}\n", "400 digits"),
    "a number of base 16": (f"{MODEL}priors: {{alpha: {{dist: Normal, mu: 0x{'f' * 5000}, sigma: 1}}}}\n", "digits"),
    "interpolations": (
        MODEL + "priors:\n  t0: x\n" + "".join(f"  t{k + 1}: '${{.t{k}}}${{.t{k}}}'\n" for k in range(40)),
        "5,000 interpolations",
    ),
    "many values": (f"x: [{', '.join(['1'] * 200_000)}]\n", "values"),
}

TERMS = " + ".join(f"x{k}" for k in range(3000))
HUNDRED = [f"{key}=range(1,101)" for key in ("seed", "sampler.draws", "sampler.tune")]

OVERRIDES = {
    "seconds": (["sampler.max_seconds=1e400"], "finite number (got inf)"),
    "seconds of tracking": (["tracking.timeout=inf"], "finite number (got inf)"),
    "tags": ([f"tags={{{','.join(f't{k}:1' for k in range(2000))}}}"], "2,000 tags"),
    "overrides": ([f"tags.t{k}=1" for k in range(2000)], "overrides; it may have 500"),
    "chains": (["sampler.chains=1000000"], "sampler.chains"),
    "draws": ([f"sampler.draws={DIGITS}"], "sampler.draws"),
    "seed": ([f"seed={DIGITS}"], "seed"),
    "a decimal": ([f"model.priors.alpha.sigma={DIGITS}.5e{DIGITS}"], "model.priors.alpha"),
    "a text": ([f"name={'n' * 100_000}"], "name"),
    "a name": ([f"name={LONG}"], "5,000 characters"),
    "a key": ([f"model.{LONG}=1"], "5,006 characters"),
    "a choice": ([f"model={LONG}"], "chooses no file"),
    "nesting": ([f"tags={'{a: ' * 500}1{'}' * 500}"], "nested more than"),
    "cores": (["sampler.cores=100000000"], "sampler.cores"),
    "a tree": (["sampler.max_treedepth=1000000"], "sampler.max_treedepth"),
    "a formula": (["model=glm", f"model.formula='Y ~ {'(' * 400}x{')' * 400}'"], "model.formula"),
    "a long formula": (["model=glm", f"model.formula='Y ~ {TERMS}'"], "22,907 characters"),
    "a range": (["-m", "seed=range(0,100000000)"], "100,000,000 values"),
    "a range of decimals": (["-m", "model.priors.alpha.sigma=range(0.1,100000000,0.1)"], "values"),
    "a range without end": (["-m", "model.priors.alpha.sigma=range(0,1e308,1e-300)"], "values"),
    "an empty range": (["-m", "seed=range(0,10,-0.001)"], "has no values"),
    "a range that is shuffled": (["-m", "seed=shuffle(range(0,100000000))"], "100,000,000 values"),
    "a product": (["-m", *HUNDRED], "1,000,000 jobs"),
    "seeds": (["-m", "seed=1,2", "sweep.seeds=100000000"], "sweep.seeds"),
}  # fmt: skip


def _is_short(bayesrun: Command, outputs: Path, words: list[str], said: str) -> None:
    began = time.perf_counter()
    done = bayesrun(*words, "tracking.backend=none", f"paths.outputs={outputs}", timeout=60)
    seconds = time.perf_counter() - began
    assert done.returncode == 1, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert said in done.stderr, done.stderr[:2000]
    assert len(done.stderr) < 10_000
    assert not outputs.exists()
    assert seconds < 12  # 4 s on an idle machine


@pytest.mark.parametrize(("text", "said"), FILES.values(), ids=FILES)
def test_a_file(bayesrun: Command, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.yaml").write_text(text)
    _is_short(bayesrun, tmp_path / "out", [f"--config-dir={tmp_path}", "model=mine"], said)


@pytest.mark.parametrize(("words", "said"), OVERRIDES.values(), ids=OVERRIDES)
def test_an_override(bayesrun: Command, tmp_path: Path, words: list[str], said: str) -> None:
    _is_short(bayesrun, tmp_path / "out", words, said)


def test_defaults_lists_that_multiply(bayesrun: Command, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    for level in range(4):
        entries = [f"{{/experiment@x{k}: e{level - 1}}}" for k in range(60 if level else 0)]
        text = f"# @package _global_\ndefaults: [{', '.join(entries)}]\n"
        (tmp_path / f"experiment/e{level}.yaml").write_text(text)
    _is_short(bayesrun, tmp_path / "out", [f"--config-dir={tmp_path}", "experiment=e3"], "more than 200 files")


def test_many_jobs_are_announced_before_they_are_checked(tmp_path: Path) -> None:
    words = ["-m", f"seed={','.join(map(str, range(3000)))}", "tracking=none", f"paths.outputs={tmp_path}"]
    command = [sys.executable, "-m", "bayesrun", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "checking 3,000 jobs; the first starts when all are valid\n"
        process.kill()
    assert not list(tmp_path.iterdir())


def test_how_many_jobs_are_checked_is_shown_meanwhile(tmp_path: Path) -> None:
    run = StartedRun(["-m", f"seed={','.join(map(str, range(3000)))}", "tracking=none"], tmp_path, {})
    try:
        assert wait_until(lambda: re.search(r"[1-9]\d*/3,000 jobs checked", run.output), run), run.output
    finally:
        run.clean_up()
    assert not list(tmp_path.iterdir())


DATA = {
    "columns": (",".join(f"c{k}" for k in range(20_000)) + "\n" + ",".join(["1"] * 20_000) + "\n", "20,000 columns"),
    "a field": (f"y,x\n1,a\n2,{'q' * 2_000_000}\n", "field larger than field limit"),
    "a number": (f"y,x\n1,1\n2,{DIGITS}\n", "label of 400 characters"),
}


@pytest.mark.parametrize(("text", "said"), DATA.values(), ids=DATA)
def test_a_table(bayesrun: Command, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.yaml").write_text(f"name: mine\nsource: csv\npath: {tmp_path}/table.csv\n")
    words = [f"--config-dir={tmp_path}", "model=glm", "model.formula='y ~ x'", "data=mine"]
    _is_short(bayesrun, tmp_path / "out", words, said)


def test_json(bayesrun: Command, tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text('{"y": ' + "[" * 20_000 + "]" * 20_000 + "}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.yaml").write_text(f"name: mine\nsource: json\npath: {tmp_path}/deep.json\n")
    words = [f"--config-dir={tmp_path}", "model=glm", "model.formula='y ~ x'", "data=mine"]
    _is_short(bayesrun, tmp_path / "out", words, "nested too deeply")
