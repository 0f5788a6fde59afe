from __future__ import annotations

from pathlib import Path

import pytest
from ignite.engine import Engine

from lesion_app.handlers.failed_run import FailedRun


def broken_engine() -> Engine:
    def step(engine: Engine, batch: int) -> None:
        raise RuntimeError("no CT")

    return Engine(step)


def test_breaking_marks_the_run_of_its_name_failed_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = f"sqlite:///{tmp_path / 'mlruns.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("lesions", artifact_location=tmp_path.as_uri())
    mine = client.create_run(experiment, run_name="mine").info.run_id
    other = client.create_run(experiment, run_name="other").info.run_id
    engine = broken_engine()
    FailedRun(uri, "lesions", "mine").attach(engine)
    with pytest.raises(RuntimeError, match="no CT"):
        engine.run([1])
    assert client.get_run(mine).info.status == "FAILED"
    assert client.get_run(other).info.status == "RUNNING"


def test_breaking_without_tracking_leaves_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    engine = broken_engine()
    FailedRun(f"sqlite:///{tmp_path / 'mlruns.db'}", "lesions", "mine").attach(engine)
    with pytest.raises(RuntimeError, match="no CT"):
        engine.run([1])
    assert list(tmp_path.iterdir()) == []


def test_tracking_out_of_reach_does_not_hide_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    engine = broken_engine()
    FailedRun("nonsense://server", "lesions", "mine").attach(engine)
    with pytest.raises(RuntimeError, match="no CT"):
        engine.run([1])
