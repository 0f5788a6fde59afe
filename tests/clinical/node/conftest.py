"""A node's surroundings: small CT images, a scanner that sends them, a PACS that counts, a model of no weight."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom", reason="the node's tests need pynetdicom: pip install 'lesion-app[deploy]'")

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PATIENT_NAME = "Zimmerblume^Ottilie"

# Standard library only, so that fifty runs take seconds: the output names the series it was made from.
STAND_IN = """
import hashlib, pathlib, struct, sys, time
source, output, mode = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
def uid_in(data, tag):
    at = data.index(tag + b"UI") + 6
    return data[at + 2 : at + 2 + struct.unpack("<H", data[at : at + 2])[0]].rstrip(b"\\0").decode()
files = sorted(source.iterdir())
series = uid_in(files[0].read_bytes(), b"\\x20\\x00\\x0e\\x00")
if mode == "refuse":
    print("Loading\\nerror: Zimmerblume has", len(files), "images of", series, "in", source, file=sys.stderr)
    sys.exit(2)
if mode == "crash":
    print("Traceback\\nValueError: bad name Zimmerblume^Ottilie", file=sys.stderr)
    sys.exit(1)
if mode == "crash once":
    flag = source.parent.parent.parent / "crashed"
    if not flag.exists():
        flag.touch(); sys.exit(1)
if mode == "nothing":
    sys.exit(0)
if mode == "hang":
    (source.parent.parent.parent / "started").touch(); time.sleep(60)
if mode.startswith("sleep "):
    time.sleep(float(mode.split()[1]))
def element(group, number, vr, value):
    value = value.encode() if isinstance(value, str) else value
    value += (b"\\0" if vr == "UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value
uid = "2.25." + str(int(hashlib.sha256((series + "/" + str(len(files))).encode()).hexdigest()[:24], 16))
storage = "1.2.840.10008.5.1.4.1.1.7"
meta = element(2, 2, "UI", storage) + element(2, 3, "UI", uid) + element(2, 16, "UI", "1.2.840.10008.1.2.1")
meta = element(2, 0, "UL", struct.pack("<I", len(meta))) + meta
body = element(8, 0x16, "UI", storage) + element(8, 0x18, "UI", uid) + element(0x20, 0xD, "UI", series + ".1")
body += element(0x20, 0xE, "UI", series + ".9")
output.mkdir()
(output / "finding.dcm").write_bytes(b"\\0" * 128 + b"DICM" + meta + body)
(output / "lesions.json").write_text("{}")
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """``stand_in(mode)``: a command; modes find, refuse, crash, crash once, nothing, hang, sleep SECONDS."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    return lambda mode="find": (sys.executable, "-I", "-S", str(script), "{input}", "{output}", mode)


@pytest.fixture
def result_uid() -> Callable[[str, int], str]:
    """``result_uid(series, images)``: of the one result the stand-in makes."""
    import hashlib

    def make(series: str, images: int) -> str:
        return "2.25." + str(int(hashlib.sha256(f"{series}/{images}".encode()).hexdigest()[:24], 16))

    return make


@pytest.fixture
def make_ct() -> Callable[..., Any]:
    """``make_ct(series, number, syntax=...)``: a CT image of 64 pixels of a patient with a name."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    def make(
        series: str = "1.2.826.0.1.3680043.2", number: int = 1, *, syntax: str = ExplicitVRLittleEndian
    ) -> Dataset:
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CT_IMAGE, f"{series}.{number}"
        image.PatientName, image.PatientID, image.Modality = PATIENT_NAME, "P-77881", "CT"
        image.StudyInstanceUID, image.SeriesInstanceUID = f"{series}.0", series
        image.Rows = image.Columns = 8
        image.BitsAllocated, image.BitsStored, image.HighBit, image.SamplesPerPixel = 16, 16, 15, 1
        image.PixelRepresentation, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.PixelData = bytes(128)
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = syntax
        return image

    return make


@pytest.fixture
def send() -> Callable[..., list[int | None]]:
    """``send(port, images, calling=, called=, tls=)``: the C-STORE statuses; None where no association was made."""
    from pynetdicom import AE

    def call(
        port: int, images: list[Any], calling: str = "SCANNER", called: str = "ULD", tls: Any = None
    ) -> list[int | None]:
        entity = AE(ae_title=calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 4
        for sop_class, syntax in {(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in images}:
            entity.add_requested_context(sop_class, syntax)
        peer = entity.associate("127.0.0.1", port, ae_title=called, tls_args=tls)
        if not peer.is_established:
            return [None] * len(images)
        try:
            return [getattr(peer.send_c_store(one), "Status", None) for one in images]
        except (RuntimeError, ValueError):
            return [None] * len(images)
        finally:
            if peer.is_established:
                peer.release()

    return call


class CountingPacs:
    """A storage SCP that keeps nothing but how often each SOP instance came; ``answers`` are given first."""

    def __init__(self) -> None:
        from pynetdicom import AE, evt

        self.received: dict[str, int] = {}
        self.answers: list[int] = []
        self._lock = threading.Lock()
        self._entity = AE(ae_title="PACS")
        self._entity.maximum_associations = 50
        self._entity.add_supported_context(SECONDARY_CAPTURE)
        self._handlers: list[Any] = [(evt.EVT_C_STORE, self._on_store)]
        self._server: Any = None
        self.port = 0
        self.open()

    def open(self) -> None:
        self._server = self._entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=self._handlers)
        self.port = self._server.socket.getsockname()[1]

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _on_store(self, event: Any) -> int:
        with self._lock:
            status = self.answers.pop(0) if self.answers else 0
            if status == 0:
                uid = str(event.request.AffectedSOPInstanceUID)
                self.received[uid] = self.received.get(uid, 0) + 1
        return status


@pytest.fixture
def pacs() -> Iterator[CountingPacs]:
    server = CountingPacs()
    yield server
    server.close()


class StowServer:
    """Answers STOW-RS requests with ``answers`` first, then 200; keeps the bodies."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/dicom-web"


@pytest.fixture
def stow_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StowServer]:
    pytest.importorskip("dicomweb_client", reason="STOW-RS needs dicomweb-client: pip install 'lesion-app[deploy]'")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    stow = StowServer()
    threading.Thread(target=stow.server.serve_forever, daemon=True).start()
    yield stow
    stow.server.shutdown()
    stow.server.server_close()


@pytest.fixture
def make_settings(tmp_path: Path, pacs: CountingPacs, stand_in: Callable[..., tuple[str, ...]]) -> Callable[..., Any]:
    """``make_settings(**changes)``: quick settings on free ports towards the counting PACS."""
    from lesion_app.clinical.node.settings import NodeSettings, Pacs

    def make(**changes: Any) -> NodeSettings:
        usual: dict[str, Any] = {
            "state": tmp_path / "state",
            "pacs": Pacs.parse(f"PACS@127.0.0.1:{pacs.port}"),
            "callers": ("SCANNER",),
            "port": 0,
            "status_port": None,
            "quiet_s": 0.4,
            "grace_s": 1.0,
            "min_free_bytes": 0,
            "command": stand_in("find"),
        }
        return NodeSettings(**{**usual, **changes})

    return make


@pytest.fixture
def start_node(make_settings: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """``start_node(**changes of settings)``: a running node with short pauses."""
    from lesion_app.clinical.node.node import Node

    nodes = []

    def start(**changes: Any) -> Node:
        node = Node(make_settings(**changes))
        nodes.append(node)
        node.start()
        node.sender.first_pause_s = 0.2
        node.worker.crash_pause_s = 0.1
        return node

    yield start
    for node in nodes:
        node.stop()


@pytest.fixture
def wait_for() -> Callable[..., None]:
    """``wait_for(condition, timeout_s=15)``: fails when the condition does not come true."""

    def wait(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)

    return wait


@pytest.fixture
def lines() -> Callable[[Any], list[tuple[str, int, str, str | None]]]:
    """``lines(node)``: (series hash, generation, state, reason) of all series, oldest first."""
    from lesion_app.clinical.node.queue_view import recent

    return lambda node: sorted((one.series, one.generation, one.state, one.reason) for one in recent(node.queue))


@pytest.fixture(autouse=True)
def _quiet_libraries() -> Iterator[None]:
    logger = logging.getLogger("pynetdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)
