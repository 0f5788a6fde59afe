"""Health and status over HTTP, on loopback only: counts, states and hashes, no patient data."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lesion_app.errors import InputError

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1d2433}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .8rem .3rem 0;"
    "border-bottom:1px solid #dde1e8;vertical-align:top}code{font-size:.95em}.ok{color:#176d3b}.trouble{color:#a32020}"
)


class StatusPage:
    """``/`` for people, ``/status.json`` for programs, ``/health`` for monitors (200, or 503 with the reasons).

    Args:
        port: on 127.0.0.1; 0 takes a free one.
        status: returns what ``/status.json`` shows: a dict with ``node``, ``problems``, ``counts``, ``pacs``,
            ``bytes`` and ``series``.

    Raises:
        InputError: when the port is taken.
    """

    def __init__(self, port: int, status: Callable[[], dict[str, Any]]) -> None:
        handler = type("Handler", (_Handler,), {"status": staticmethod(status)})
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError as error:
            raise InputError(
                f"port {port} for the status page cannot be used ({error.strerror}); choose another with --status-port"
            ) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="status page", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened at."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer requests."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    status: Callable[[], dict[str, Any]]
    timeout = 10
    server_version = "lesion-app"
    sys_version = ""

    def do_GET(self) -> None:
        try:
            report = self.status()
        except Exception:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", "the queue cannot be read\n")
            return
        problems = report["problems"]
        if self.path == "/health":
            state = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
            self._answer(state, "text/plain", "".join(f"{one}\n" for one in problems) or "ok\n")
        elif self.path == "/status.json":
            self._answer(HTTPStatus.OK, "application/json", json.dumps(report, indent=1) + "\n")
        elif self.path == "/":
            self._answer(HTTPStatus.OK, "text/html", page(report))
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "there are /, /status.json and /health\n")

    def _answer(self, state: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(state)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """A monitor asks every few seconds: nothing to log."""


def page(report: dict[str, Any]) -> str:
    """The status as HTML."""
    say = html.escape
    problems = report["problems"]
    verdict = '<p class="ok">Everything works.</p>'
    if problems:
        verdict = "".join(f'<p class="trouble">{say(one)}</p>' for one in problems)
    pacs = report["pacs"]
    away = f" (waiting: {say(pacs['away'])})" if pacs["away"] else ""
    counts = "".join(f"<tr><td>{say(state)}</td><td>{number}</td></tr>" for state, number in report["counts"].items())
    held, limit = (report["bytes"][name] / 1e9 for name in ("held", "limit"))
    rows = "".join(
        f"<tr><td><code>{say(one['series'])}</code></td><td>{one['generation']}</td><td>{one['images']}</td>"
        f"<td>{say(one['state'])}</td><td>{say(one['reason'] or '')}</td>"
        f"<td>{datetime.fromtimestamp(one['changed']):%Y-%m-%d %H:%M:%S}</td></tr>"
        for one in report["series"]
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        f"<title>{say(report['node'])}</title><style>{_STYLE}</style>"
        f"<h1>{say(report['node'])}</h1>{verdict}"
        f"<p>Results go to {say(pacs['address'])}{away}. Held: {held:.2f} of {limit:.2f} GB.</p>"
        f"<h2>Series by state</h2><table>{counts}</table>"
        "<h2>Latest series</h2><table><tr><th>series</th><th>generation</th><th>images</th><th>state</th>"
        f"<th>reason</th><th>changed</th></tr>{rows}</table></html>\n"
    )
