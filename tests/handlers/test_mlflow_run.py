from __future__ import annotations

import subprocess
import sys
import textwrap

import mlflow
import pytest
from ignite.engine import Engine, Events

from lesion_app.errors import InputError
from lesion_app.handlers.mlflow_run import MlflowRun, unique_run_name


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory) -> bytes:
    """A database with its tables: making them takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "runs.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


@pytest.fixture
def uri(tmp_path, empty_database, monkeypatch) -> str:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "runs.db").write_bytes(empty_database)
    return f"sqlite:///{tmp_path / 'runs.db'}"


def handler(uri: str, run_name: str = "one", **options) -> MlflowRun:
    return MlflowRun(tracking_uri=uri, experiment_name="e", run_name=run_name, close_on_complete=True, **options)


def engine(process=lambda e, b: [{"loss": 1.0}]) -> Engine:
    made = Engine(process)
    made.logger.disabled = True
    return made


def runs(uri: str) -> list:
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("e")
    return client.search_runs([experiment.experiment_id]) if experiment else []


def statuses(uri: str) -> list[tuple[str, str]]:
    return sorted((run.info.run_name, run.info.status) for run in runs(uri))


def test_names_are_unique():
    names = {unique_run_name("train") for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("train_20") for name in names)


def test_finished_run_holds_parameters_and_figures(uri):
    trainer = engine()
    handler(uri, experiment_param={"learning_rate": 0.02}).attach(trainer)
    trainer.run([0, 0, 0], max_epochs=2)
    (run,) = runs(uri)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"learning_rate": "0.02", "max_epochs": "2", "epoch_length": "3"}
    assert run.data.metrics["loss"] == 1.0


def test_run_without_a_name_gets_a_unique_one(uri):
    for _ in range(2):
        trainer = engine()
        MlflowRun(tracking_uri=uri, experiment_name="e", close_on_complete=True).attach(trainer)
        trainer.run([0])
    assert len({name for name, _ in statuses(uri)}) == 2


def test_exception_marks_the_run_failed_and_travels_on(uri):
    def fail(e, b):
        raise InputError("bad")

    trainer = engine(fail)
    handler(uri).attach(trainer)
    with pytest.raises(InputError, match="bad"):
        trainer.run([0])
    assert statuses(uri) == [("one", "FAILED")]


def test_failed_run_is_not_taken_up_by_the_next_one_of_its_name(uri):
    def fail(e, b):
        raise RuntimeError

    for process in (fail, lambda e, b: [{"loss": 1.0}]):
        trainer = engine(process)
        handler(uri).attach(trainer)
        try:
            trainer.run([0])
        except RuntimeError:
            continue
    assert statuses(uri) == [("one", "FAILED"), ("one", "FINISHED")]


def test_run_that_a_killed_process_left_running_does_not_swallow_the_next_one(uri):
    client = mlflow.MlflowClient(tracking_uri=uri)
    left = client.create_run(client.create_experiment("e"), run_name="one")
    trainer = engine()
    handler(uri).attach(trainer)
    trainer.run([0])
    assert statuses(uri) == [("one", "FINISHED"), ("one", "RUNNING")]
    assert client.get_run(left.info.run_id).data.metrics == {}


def test_handlers_of_one_process_share_a_run(uri):
    trainer, evaluator = engine(), engine(lambda e, b: [{"val_loss": 2.0}])
    first, second = handler(uri), MlflowRun(tracking_uri=uri, experiment_name="e", run_name="one")
    first.attach(trainer)
    second.attach(evaluator)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda e: evaluator.run([0]))
    trainer.run([0], max_epochs=2)
    (run,) = runs(uri)
    assert run.info.status == "FINISHED"
    assert {"loss", "val_loss"} <= set(run.data.metrics)


def test_failing_evaluator_fails_the_run_it_shares(uri):
    def fail(e, b):
        raise RuntimeError("broken")

    trainer, evaluator = engine(), engine(fail)
    handler(uri).attach(trainer)
    MlflowRun(tracking_uri=uri, experiment_name="e", run_name="one").attach(evaluator)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda e: evaluator.run([0]))
    with pytest.raises(RuntimeError, match="broken"):
        trainer.run([0])
    assert statuses(uri) == [("one", "FAILED")]


def test_two_runs_of_one_process_after_each_other_are_two(uri):
    for name in ("one", "two"):
        trainer = engine()
        handler(uri, name).attach(trainer)
        trainer.run([0])
    assert statuses(uri) == [("one", "FINISHED"), ("two", "FINISHED")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_run_that_is_told_to_stop_is_marked_killed(uri, error):
    def stop(e, b):
        raise error

    trainer = engine(stop)
    handler(uri).attach(trainer)
    with pytest.raises(error):
        trainer.run([0])
    assert statuses(uri) == [("one", "KILLED")]


def test_interpreter_that_exits_with_an_open_run_marks_it_killed(uri):
    program = f"""
        from ignite.engine import Engine
        from lesion_app.handlers.mlflow_run import MlflowRun
        engine = Engine(lambda e, b: None)
        handler = MlflowRun(tracking_uri={uri!r}, experiment_name="e", run_name="one")
        handler.start(engine)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert statuses(uri) == [("one", "KILLED")]
