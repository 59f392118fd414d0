"""Input that is far too large or deep is rejected in a few lines, before it is expanded, and nothing is created.

What is expanded does not fit into the memory and the processor time that the command gets here.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
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
    "a range to a number of 400 digits": (["-m", f"seed=range(0,{DIGITS})"], "1,000,000,000,000 values"),
    "a range to optimize": (["-m", "sweeper=optuna", f"seed=range(0,{DIGITS})"], "400 digits"),
    "a range that is shuffled": (["-m", "seed=shuffle(range(0,100000000))"], "100,000,000 values"),
    "a product": (["-m", *HUNDRED], "1,000,000 jobs"),
    "a run": (["task=report", f"run={LONG}"], "is longer than a file's name can be"),
    "a sweep": ([f"resume={LONG}"], "is longer than a file's name can be"),
    "a config folder": ([f"--config-dir=/{LONG}"], "is longer than a file's name can be"),
    "outputs": ([f"paths.outputs=/tmp/{LONG}"], "File name too long"),
    "seeds": (["-m", "seed=1,2", "sweep.seeds=100000000"], "sweep.seeds"),
}  # fmt: skip


MEMORY, PROCESSOR_SECONDS = 4 << 30, 60
"""A message needs some 0.2 GB and 2 s."""


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))


def _is_short(outputs: Path, words: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bayesrun", "tracking.backend=none", f"paths.outputs={outputs}", *words],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # threads reserve memory
        preexec_fn=_limited,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert said in done.stderr, done.stderr[:2000]
    assert len(done.stderr) < 10_000
    assert not outputs.exists()


@pytest.mark.parametrize(("text", "said"), FILES.values(), ids=FILES)
def test_a_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.yaml").write_text(text)
    _is_short(tmp_path / "out", [f"--config-dir={tmp_path}", "model=mine"], said)


@pytest.mark.parametrize(("words", "said"), OVERRIDES.values(), ids=OVERRIDES)
def test_an_override(tmp_path: Path, words: list[str], said: str) -> None:
    _is_short(tmp_path / "out", words, said)


def test_defaults_lists_that_multiply(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    for level in range(4):
        entries = [f"{{/experiment@x{k}: e{level - 1}}}" for k in range(60 if level else 0)]
        text = f"# @package _global_\ndefaults: [{', '.join(entries)}]\n"
        (tmp_path / f"experiment/e{level}.yaml").write_text(text)
    _is_short(tmp_path / "out", [f"--config-dir={tmp_path}", "experiment=e3"], "more than 200 files")


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


LEVELS = "y,x\n" + "".join(f"{k % 7},l{k}\n" for k in range(60_000))
FACTORS = ",".join(["y", *(f"x{k}" for k in range(12))]) + "\n"
FACTORS += "".join(",".join([str(r), *(f"l{(r * (k + 3) + k) % 40}" for k in range(12))]) + "\n" for r in range(200))
NAMED = f"y,{'n' * 500}\n" + "".join(f"{k},{k % 3}\n" for k in range(9))

DATA = {
    "columns": (
        ",".join(f"c{k}" for k in range(20_000)) + "\n" + ",".join(["1"] * 20_000) + "\n",
        "y ~ x",
        "20,000 columns",
    ),
    "a field": (f"y,x\n1,a\n2,{'q' * 2_000_000}\n", "y ~ x", "field larger than field limit"),
    "a number": (f"y,x\n1,1\n2,{DIGITS}\n", "y ~ x", "label of 400 characters"),
    "a name": (NAMED, f"y ~ {'n' * 500}", "a name of 500 characters"),
    "levels": (LEVELS, "y ~ x", "needs 60,000 columns"),
    "numbers as levels": (LEVELS.replace("l", ""), "y ~ C(x)", "needs 60,000 columns"),
    "factors": (FACTORS, f"y ~ {' * '.join(f'x{k}' for k in range(12))}", "needs 655,360,000,000,000 columns"),
}


def _of_table(folder: Path, table: Path, source: str, formula: str) -> list[str]:
    (folder / "data").mkdir()
    (folder / "data/mine.yaml").write_text(f"name: mine\nsource: {source}\npath: {table}\n")
    return [f"--config-dir={folder}", "model=glm", f"model.formula='{formula}'", "data=mine"]


@pytest.mark.parametrize(("text", "formula", "said"), DATA.values(), ids=DATA)
def test_a_table(tmp_path: Path, text: str, formula: str, said: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    _is_short(tmp_path / "out", _of_table(tmp_path, tmp_path / "table.csv", "csv", formula), said)


ENTITIES = "".join(f'<!ENTITY a{k + 1} "{f"&a{k};" * 10}">' for k in range(9))


def _far_away(sheet: str) -> Iterator[str]:
    yield sheet.replace("A1:B3", "A1:XFD1048576")


def _blanks(sheet: str) -> Iterator[str]:
    begin, end = sheet.split("</sheetData>")
    yield begin
    for _ in range(60):
        yield " " * 10_000_000
    yield f"</sheetData>{end}"


def _entities(sheet: str) -> Iterator[str]:
    yield f'<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{ENTITIES}]>'
    yield re.sub(r"<\?xml.*?\?>", "", sheet).replace("<v>1</v>", "<v>&a9;</v>", 1)


def _many_columns(sheet: str) -> Iterator[str]:
    cells = "".join(f'<c t="inlineStr"><is><t>c{k}</t></is></c>' for k in range(16_384))
    yield f'{sheet.split("<sheetData>")[0]}<sheetData><row r="1">{cells}</row></sheetData></worksheet>'


def _deflated(name: str) -> zipfile.ZipInfo:
    part = zipfile.ZipInfo(name)
    part.compress_type = zipfile.ZIP_DEFLATED
    return part


SHEETS: dict[str, tuple[Callable[[str], Iterator[str]], str]] = {
    "a cell far away": (_far_away, "spans 1,048,576 rows and 16,384 columns"),
    "blanks": (_blanks, "(most allowed: 500,000,000)"),
    "entities": (_entities, "can't be read as Excel"),
    "columns": (_many_columns, "16,384 columns"),
}


@pytest.mark.parametrize(("written", "said"), SHEETS.values(), ids=SHEETS)
def test_a_workbook(tmp_path: Path, written: Callable[[str], Iterator[str]], said: str) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for row in (["y", "x"], [1, 1], [2, 3]):
        book.active.append(row)
    book.save(tmp_path / "plain.xlsx")
    with zipfile.ZipFile(tmp_path / "plain.xlsx") as plain, zipfile.ZipFile(tmp_path / "table.xlsx", "w") as changed:
        for name in plain.namelist():
            content = plain.read(name).decode()
            with changed.open(_deflated(name), "w") as part:
                for text in written(content) if name.endswith("sheet1.xml") else [content]:
                    part.write(text.encode())
    _is_short(tmp_path / "out", _of_table(tmp_path, tmp_path / "table.xlsx", "excel", "y ~ x"), said)


def test_json(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text('{"y": ' + "[" * 20_000 + "]" * 20_000 + "}")
    words = _of_table(tmp_path, tmp_path / "deep.json", "json", "y ~ x")
    _is_short(tmp_path / "out", words, "nested too deeply")
