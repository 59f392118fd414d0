"""Data files in place of names: `data=rows.csv`."""

from __future__ import annotations

from pathlib import Path

import pytest

from bayesrun.config.resolvers import run_name
from bayesrun.config.table_files import SOURCE_OF, with_absolute_files
from bayesrun.data.base import SOURCES
from tests.composing import composed, plain
from tests.unit.config.test_compose import faults


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("data=rows.csv", "data={here}/rows.csv"),
        ("+data=rows.CSV", "+data={here}/rows.CSV"),
        ("predict.data='new rows.parquet'", "predict.data='{here}/new rows.parquet'"),
        ("data=my rows.csv", "data='{here}/my rows.csv'"),
        ("data='a,b.csv'", "data='{here}/a,b.csv'"),
        ("data=a.csv,mining_disasters,/b.xlsx", "data={here}/a.csv,mining_disasters,/b.xlsx"),
        ("data=choice(a.csv,b.csv)", "data=choice({here}/a.csv,{here}/b.csv)"),
        ("effects.data=../rows.json", "effects.data={here}/../rows.json"),
        ("data='it's.nc'", "data='{here}/it\\'s.nc'"),
        ("data=mining_disasters", "data=mining_disasters"),
        ("data={source: csv, path: rows.csv}", "data={source: csv, path: rows.csv}"),
        ("data.path=rows.csv", "data.path=rows.csv"),
        ("~data", "~data"),
    ],
)
def test_files_become_absolute_paths(word: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_absolute_files(word) == expected.replace("{here}", str(tmp_path))


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert with_absolute_files("data=~/rows.csv") == "data=/home/me/rows.csv"


@pytest.mark.parametrize("end", SOURCE_OF)
def test_a_file_stands_for_the_section_that_reads_it(end: str, tmp_path: Path) -> None:
    assert SOURCE_OF[end] in SOURCES.names()
    path = tmp_path / f"my rows (1){end}"
    config = composed("model=switchpoint", f"data='{path}'", f"predict.data='{path}'", "data.columns=[y]")
    for key in ("data", "predict.data"):
        section = plain(config, key)
        assert (section["name"], section["source"], section["path"]) == ("my rows (1)", SOURCE_OF[end], str(path))
    assert plain(config, "data.columns") == ["y"]
    assert not plain(config, "data").get("sha256"), "nothing is left of the model's own data set"


def test_a_missing_file_is_told_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("y\n1\n")
    found = faults("model=switchpoint", f"data={tmp_path}/row.csv", f"predict.data={tmp_path}/new.csv")
    assert f"no file '{tmp_path}/row.csv'" in found["data.path"] and "did you mean 'rows.csv'" in found["data.path"]
    assert f"no file '{tmp_path}/new.csv'" in found["predict.data.path"]
    assert "paths.data" not in found["data.path"]


def test_a_file_of_another_kind_is_told_with_the_endings() -> None:
    assert "or give a file (.csv, .tsv, " in faults("model=switchpoint", "data=rows.cvs")["data"]


def test_a_run_is_named_after_the_file_and_not_its_folder() -> None:
    assert run_name(None, "glm", "data=/home/me/rows.csv,model=glm") == "glm_data=rows.csv"
