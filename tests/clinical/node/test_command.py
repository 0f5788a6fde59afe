"""The verbs of the command line, as functions."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from lesion_app.clinical.node import queue_view
from lesion_app.clinical.node.command import requeue, serve
from lesion_app.clinical.node.series_queue import SeriesQueue
from lesion_app.errors import InputError


def call(function, *arguments: object):
    app = typer.Typer()
    app.command()(function)
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


@pytest.fixture
def state(tmp_path):
    """A state folder with one refused series, 1.2.3."""
    queue = SeriesQueue(tmp_path / "queue.db")
    queue.add("1.2.3", "1.2.3.1", 10, 0.0)
    queue.close_quiet(10.0, 1.0)
    job, _ = queue.claim("run", 10.0)
    queue.end_run(job, "refused", "reason", 11.0)
    queue.close()
    return tmp_path


def test_requeue_by_hash_and_by_state(state):
    queue = SeriesQueue(state / "queue.db")
    (job,) = queue_view.find(queue)
    assert f"{job.series_hash}: refused -> received" in call(requeue, state, job.series_hash[:6]).output
    assert queue_view.find(queue)[0].state == "received"
    assert call(requeue, state, "--every", "refused").output == ""
    queue.close()


def test_requeue_tells_mistakes(state, tmp_path):
    with pytest.raises(InputError, match="fits 0 series"):
        call(requeue, state, "ffffffffffff0")
    with pytest.raises(InputError, match="name one series"):
        call(requeue, state)
    with pytest.raises(InputError, match=r"holds no queue\.db"):
        call(requeue, tmp_path / "elsewhere", "abc")


def test_serve_tells_mistakes(tmp_path):
    with pytest.raises(InputError, match="no AE title"):
        call(serve, tmp_path, "--pacs", "PACS@host:104", "--allow", "TOO_LONG_FOR_AN_AE")
    with pytest.raises(InputError, match="TLS needs"):
        call(serve, tmp_path, "--pacs", "PACS@host:104", "--allow", "A", "--tls-cert", tmp_path / "cert.pem")
