"""TLS contexts for both directions."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from lesion_app.clinical.node.settings import TlsFiles
from lesion_app.errors import InputError


class _LateHandshake(ssl.SSLContext):
    """Shakes hands at the first read, in the association's own thread.

    pynetdicom wraps accepted sockets in the one thread that accepts: a peer that connects and says nothing would keep
    everybody else out.
    """

    def wrap_socket(self, sock: socket.socket, server_side: bool = False, **more: Any) -> ssl.SSLSocket:  # type: ignore[override]
        more["do_handshake_on_connect"] = not server_side
        return super().wrap_socket(sock, server_side=server_side, **more)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or newer; peers must show a certificate when ``files.authorities`` is given.

    Raises:
        InputError: for a missing or unfit file.
    """
    context = _LateHandshake(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, files)
    if files.authorities is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or newer towards the PACS, whose certificate and name are checked; shows the node's own certificate.

    Raises:
        InputError: for a missing or unfit file.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, files)
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    named = {"--tls-cert": files.certificate, "--tls-key": files.key, "--tls-ca": files.authorities}
    for option, file in named.items():
        if file is not None and not file.is_file():
            raise InputError(f"the file {file} named by {option} does not exist; name a PEM file")
    try:
        # Without a password callback OpenSSL would ask on the terminal, where nobody sits.
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
        if files.authorities is not None:
            context.load_verify_locations(files.authorities)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"TLS certificate {files.certificate}, key {files.key} and authorities do not fit together ({reason}); "
            "expected PEM files, the key without a password and belonging to the certificate"
        ) from error


def _no_password() -> str:
    raise ValueError("the key has a password")
