"""What the label server never gets to see."""

import asyncio
import json
from typing import Any

import pytest

from lesion_app.labeling.request_guard import RequestGuard

HOSTS = ["127.0.0.1", "localhost", "::1"]


def ask(
    path: str,
    query: str = "",
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: list[bytes] | None = None,
    max_bytes: int = 100,
) -> tuple[int, Any]:
    """Status of a request to an app that answers 200, and how many bytes it read or what the guard told."""
    chunks = list(body or [b""])
    answers: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        read = b""
        while True:
            message = await receive()
            read += message["body"]
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(len(read)).encode()})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    sent = {"host": "127.0.0.1:8000", **(headers or {})}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }
    asyncio.run(RequestGuard(app, HOSTS, ["http://viewer:3000"], max_bytes)(scope, receive, send))
    return answers[0]["status"], json.loads(answers[1]["body"])


@pytest.mark.parametrize(
    "query",
    ["image=ct_001&tag=final", "image=1.2.840.113619.2.1&tag=", "label=ct_001.v2&tag=original", "output=all&max=..%2F"],
)
def test_plain_names_pass(query: str) -> None:
    assert ask("/datastore/label", query)[0] == 200


@pytest.mark.parametrize(
    "query",
    [
        "tag=..%2F..%2Fevil",
        "image=/etc/passwd",
        "image=%2Fetc%2Fpasswd",
        "id=a/b",
        "label=..",
        "image=a..b",
        "image=a%00b",
        "image=ok&image=../x",
        "image=a%5Cb",
        "image=.hidden",
        "image=" + "a" * 129,
        "session_id=../x",
    ],
)
def test_names_that_are_paths_are_refused(query: str) -> None:
    status, told = ask("/datastore/label", query, "PUT")
    assert status == 400
    assert "plain name" in told["detail"]


@pytest.mark.parametrize(
    "path", ["/train/..%2Fx", "/infer/../../x", "/activelearning/a b", "/model/a\\b", "/static/..%2f..%2fx"]
)
def test_paths_that_leave_their_folder_are_refused(path: str) -> None:
    assert ask(path, method="POST")[0] == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/model/lesion_detection"), ("DELETE", "/model/x"), ("PUT", "/session/"), ("POST", "/infer/wsi/x")],
)
def test_weights_and_sessions_cannot_be_sent(method: str, path: str) -> None:
    assert ask(path, method=method)[0] == 403


def test_weights_can_be_asked_about() -> None:
    assert ask("/model/info/lesion_detection")[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example", "http://viewer:3001"]
)
def test_pages_of_other_sites_are_refused(origin: str) -> None:
    assert ask("/info/", headers={"origin": origin})[0] == 403
    assert ask("/datastore/label", method="OPTIONS", headers={"origin": origin})[0] == 403


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:8000", "http://localhost:3000", "http://viewer:3000", "http://[::1]:8000"]
)
def test_own_and_allowed_pages_pass(origin: str) -> None:
    assert ask("/info/", headers={"origin": origin})[0] == 200


def test_name_that_was_pointed_here_is_refused() -> None:
    """DNS rebinding: a page's own name resolves to the loopback, so that its origin and host agree."""
    rebound = {"host": "evil.example:8000", "origin": "http://evil.example:8000"}
    assert ask("/info/", headers=rebound)[0] == 403
    assert ask("/info/", headers={"host": ""})[0] == 403


@pytest.mark.parametrize("length", ["101", "-1", "many"])
def test_announced_length_is_bounded(length: str) -> None:
    assert ask("/datastore/image", method="PUT", headers={"content-length": length})[0] == 413


def test_sent_length_is_bounded() -> None:
    assert ask("/datastore/image", method="PUT", body=[b"x" * 60, b"x" * 60])[0] == 413
    assert ask("/datastore/image", method="PUT", body=[b"x" * 60, b"x" * 40]) == (200, 100)


def test_web_sockets_are_not_served() -> None:
    async def app(*_: Any) -> None:
        raise AssertionError("reached the server")

    async def nothing(*_: Any) -> Any:
        raise AssertionError("said something")

    asyncio.run(RequestGuard(app, HOSTS)({"type": "websocket", "headers": []}, nothing, nothing))
