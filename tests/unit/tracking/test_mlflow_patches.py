"""MLflow comes without what sending runs does not need, all of which stays importable."""

import subprocess
import sys

import pytest

LOAD = "import sys; from bayesrun.tracking.mlflow_patches import import_mlflow; import_mlflow(database={database}); "


def said(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


UNNEEDED = ["pandas", "polars", "pyarrow", "sklearn", "IPython", "fastapi", "mlflow.genai"]


@pytest.mark.parametrize("database", [True, False])
def test_mlflow_is_imported_without_what_it_does_not_need(database):
    modules = ["mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store", *UNNEEDED]
    code = LOAD.format(database=database) + f"print([name in sys.modules for name in {modules}])"
    assert said(code) == str([True, database, *[False] * len(UNNEEDED)])


def test_pandas_can_be_imported_afterwards():
    assert said(LOAD.format(database=False) + "import pandas; print(pandas.Series([1, 2]).sum())") == "3"


@pytest.mark.parametrize("module", ["genai", "genai.scorers", "genai.judges", "gateway.constants"])
def test_the_rest_of_mlflow_can_be_imported_afterwards(module):
    use = f"import importlib; print(len(dir(importlib.import_module('mlflow.{module}'))) > 10); "
    assert (
        said(LOAD.format(database=True) + use + "import mlflow; print(callable(mlflow.genai.evaluate))") == "True\nTrue"
    )


def test_a_version_of_mlflow_that_needs_them_is_imported_whole(tmp_path):
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").write_text("")
    (tmp_path / "mlflow" / "tracking.py").write_text("from pandas import Series; from mlflow.genai import evaluate")
    (tmp_path / "mlflow" / "genai").mkdir()
    (tmp_path / "mlflow" / "genai" / "__init__.py").write_text("def evaluate(): ...")
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
    assert said(path + LOAD.format(database=False) + "print(sys.modules['mlflow.tracking'].Series([3]).sum())") == "3"


def test_a_pandas_that_is_there_stays():
    assert said("import pandas; " + LOAD.format(database=False) + "print(sys.modules['pandas'] is pandas)") == "True"


def test_a_database_that_does_not_answer_is_tried_for_seconds_not_minutes():
    code = LOAD.format(database=True) + "import mlflow.store.db.utils as u; print(u.MAX_RETRY_COUNT); "
    use = "import inspect; print('attempts < MAX_RETRY_COUNT' in inspect.getsource(u))"
    assert said(code + use).split() == ["4", "True"]
