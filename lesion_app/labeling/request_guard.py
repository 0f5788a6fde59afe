"""Checks of every request before the label server sees it (ASGI, nothing else is needed)."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

Scope = Mapping[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Any, Receive, Send], Awaitable[None]]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAMED = ("tag", "image", "label", "id", "session_id")
# Routes whose last part names a thing on disk, or a class to load.
_NAMING_ROUTES = re.compile(
    r"/(?:infer|batch/infer|train|activelearning|scoring|model|model/info|session)/(?P<name>[^/]+)/?"
)
_REFUSED = (
    ("PUT", "/model/", "weights are trained here or named when the server starts, never uploaded"),
    ("DELETE", "/model/", "weights are never removed by a request"),
    ("*", "/session", "volumes are labelled where they are stored; add the image to the store instead"),
    ("*", "/infer/wsi", "there are no slide images here"),
)


class RequestGuard:
    """Refuses what MONAI Label 0.8.5 would take and should not.

    * Names in a request (image, label, tag, model ...) that are no plain names: upstream joins them to paths, so that
      ``tag=../../x`` writes outside the store and ``image=/any/file`` opens any file (400).
    * Requests that a browser sends for a foreign page, by ``Origin`` or ``Host`` (403): upstream allows every origin,
      and a server on the loopback is reached by every page its user opens.
    * Bodies larger than ``max_bytes``, announced or sent (413).
    * Uploads and removals of weights, sessions and slide images (403).

    Args:
        app: the server.
        hosts: names this server is called by, without ports.
        origins: further origins that may call, such as ``http://viewer:3000``.
        max_bytes: largest body.
    """

    def __init__(
        self, app: AsgiApp, hosts: Iterable[str], origins: Iterable[str] = (), max_bytes: int = 4 * 2**30
    ) -> None:
        self.app = app
        self.hosts = {host.lower() for host in hosts}
        self.origins = {origin.rstrip("/").lower() for origin in origins}
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        fault = self.fault(scope)
        if fault is not None:
            await _refuse(send, *fault)
            return
        if scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)
            return
        await self._limited(scope, receive, send)

    def fault(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence for a request that is refused by its head, None for one that is let in."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = _host(headers.get("host", ""))
        if host not in self.hosts:
            return 403, "this server is not called by that name; name it with --host-name when it starts"
        origin = headers.get("origin", "").rstrip("/").lower()
        if origin and origin not in self.origins and _host(urlsplit(origin).netloc) not in self.hosts:
            return 403, "pages of other sites may not use this server; allow theirs with --origin when it starts"
        length = headers.get("content-length", "")
        if length and (not length.isdigit() or int(length) > self.max_bytes):
            return 413, f"the request holds more than {self.max_bytes} bytes"
        path = unquote(str(scope["path"]))
        if ".." in path.split("/") or "\\" in path or "\0" in path:
            return 400, "the path of the request leaves its folder"
        for method, start, why in _REFUSED:
            if path.startswith(start) and method in ("*", scope["method"]) and scope["method"] != "OPTIONS":
                return 403, why
        named = _NAMING_ROUTES.fullmatch(path)
        if named and not _NAME.fullmatch(named["name"]):
            return 400, "the name in the path is no plain name"
        for key, value in parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True):
            if key in _NAMED and value and (not _NAME.fullmatch(value) or ".." in value):
                return 400, f"'{key}' is no plain name: letters, digits, dot, hyphen and underscore are allowed"
        return None

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken = 0
        began = False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.max_bytes:  # a chunked body announces no length
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except _TooLarge:
            if not began:
                await _refuse(send, 413, f"the request holds more than {self.max_bytes} bytes")


class _TooLarge(Exception):
    """A body grew beyond its limit while it was read."""


def _host(name: str) -> str:
    """Host without its port, lower case; of ``[::1]:8000`` the ``::1``."""
    name = name.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
