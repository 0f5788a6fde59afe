"""The DICOM storage SCP: an image is answered with success once it is on the disk and in the queue."""

from __future__ import annotations

import errno
import tempfile
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesion_app.clinical.node.log import LOG, place_of, series_hash
from lesion_app.clinical.node.retention import Retention
from lesion_app.clinical.node.series_queue import SeriesQueue
from lesion_app.clinical.node.settings import NodeSettings
from lesion_app.clinical.node.state_folder import StateFolder, is_uid
from lesion_app.clinical.node.tls import server_context
from lesion_app.errors import InputError

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2.1"

# PS3.4 table B.2-1
SUCCESS, OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000

# A peer that stalls in the middle of a message would hold its thread for ever.
STALL_S = 60.0
# Up to here an image too many is received to its end and answered with "out of resources", bytes.
_LARGEST_IMAGE = 2 * 10**9


@dataclass(frozen=True)
class _Identity:
    series_uid: str
    sop_uid: str


class _NotAcceptableError(Exception):
    def __init__(self, status: int, told: str) -> None:
        super().__init__(told)
        self.status = status


class Receiver:
    """Listens at ``settings.host``:``settings.port`` between :meth:`start` and :meth:`stop`.

    CT and enhanced CT images are kept as they come, in any transfer syntax for still images; presentation contexts for
    anything else are rejected when the association is made. Images are streamed to the disk, not held in memory.
    One receiver a process: pynetdicom's switch for streaming and the folder for temporary files are process-wide.
    """

    def __init__(self, settings: NodeSettings, queue: SeriesQueue, folder: StateFolder, retention: Retention) -> None:
        self.settings, self.queue, self.folder, self.retention = settings, queue, folder, retention
        self.full = False
        # Series by association; gone with the association.
        self._sending: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()
        self._server: Any = None
        self._before: tuple[bool, str | None] | None = None

    @property
    def port(self) -> int:
        """The port that is listened at."""
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Listen.

        Raises:
            InputError: when the port is taken or the address is not this machine's, or a TLS file does not serve.
        """
        from pynetdicom import AE, _config, evt
        from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

        settings = self.settings
        context = None if settings.tls is None else server_context(settings.tls)
        entity = AE(ae_title=settings.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(settings.callers)
        entity.maximum_associations = settings.max_associations
        entity.network_timeout = STALL_S
        entity.add_supported_context(Verification)
        for sop_class in (CT_IMAGE, ENHANCED_CT_IMAGE):
            entity.add_supported_context(sop_class, still_image_syntaxes())
        self._before = (_config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir)
        _config.STORE_RECV_CHUNKED_DATASET = True
        # pynetdicom streams to a temporary file; on the queue's own disk it only has to be renamed.
        tempfile.tempdir = str(self.folder.incoming)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_CONN_OPEN, self._on_connection),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_ABORTED, self._on_cut_off),
        ]
        try:
            self._server = entity.start_server(
                (settings.host, settings.port), block=False, evt_handlers=handlers, ssl_context=context
            )
        except OSError as error:
            self.stop()
            place = f"{settings.host}:{settings.port}"
            if error.errno == errno.EADDRINUSE:
                raise InputError(
                    f"port {place} is taken by another program; stop it or choose another with --port"
                ) from error
            raise InputError(f"cannot listen at {place} ({error.strerror}); choose another --host or --port") from error

    def stop(self) -> None:
        """Stop listening; images not yet answered are for the sender to send again."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None
        if self._before is not None:
            from pynetdicom import _config

            _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir = self._before
            self._before = None

    def alive(self) -> bool:
        """Whether the port is listened at."""
        return self._server is not None and self._server.socket is not None and self._server.socket.fileno() >= 0

    def abort_when_full(self) -> bool:
        """Abort what is being received once it outgrows the room left by far: a peer could send without end."""
        beginning = self.folder.incoming_bytes()
        if beginning == 0 or self.retention.has_room(beginning - _LARGEST_IMAGE):
            return False
        LOG.error("no room for what is being received: associations aborted")
        for association in self._server.active_associations if self._server is not None else ():
            association.abort()
        return True

    def _on_connection(self, event: Any) -> None:
        event.assoc.dul.socket.socket.settimeout(STALL_S)

    def _on_rejected(self, event: Any) -> None:
        address = event.assoc.requestor.address_info
        where = "an unknown address" if address is None else address.address
        LOG.warning("an association from %s was rejected: calling or called AE title, or too many at once", where)

    def _on_cut_off(self, event: Any) -> None:
        """Abort, lost connection or time-out: the series it was sending may be missing images."""
        if series_uids := self._sending.pop(event.assoc, None):
            self.queue.hold(time.time() + self.settings.grace_s, series_uids)
            LOG.warning("an association was cut off; its %d series wait for more images", len(series_uids))

    def _on_store(self, event: Any) -> int:
        received = Path(event.dataset_path)
        identity: _Identity | None = None
        try:
            request = event.request
            identity = _read_identity(received, str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
            self._sending.setdefault(event.assoc, set()).add(identity.series_uid)
            return self._keep(received, identity)
        except _NotAcceptableError as error:
            LOG.warning("an image was refused with status 0x%04X: %s", error.status, error)
            return error.status
        except Exception as error:
            # The sender keeps the image and tries again: better than a success that is none.
            LOG.error("an image could not be kept: %s", place_of(error))
            self._note_absence(identity)
            return OUT_OF_RESOURCES

    def _note_absence(self, identity: _Identity | None) -> None:
        """Keep the series from being run without an image that came but was not kept."""
        if identity is None:
            return
        try:
            self.queue.turn_away(identity.series_uid, identity.sop_uid, time.time())
        except Exception as error:
            LOG.error("series %s: not even noted: %s", series_hash(identity.series_uid), place_of(error))

    def _keep(self, received: Path, identity: _Identity) -> int:
        series_uid, sop_uid = identity.series_uid, identity.sop_uid
        with self.folder.lock:
            if self.queue.holds(series_uid, sop_uid):
                return SUCCESS
            size = received.stat().st_size
            self.full = not self.retention.make_room(size, but=series_uid)
            if self.full:
                self.queue.turn_away(series_uid, sop_uid, time.time())
                LOG.warning("series %s: no room for an image", series_hash(series_uid))
                return OUT_OF_RESOURCES
            self.folder.keep(received, series_uid, sop_uid)
            self.queue.add(series_uid, sop_uid, size, time.time())
        return SUCCESS


def _read_identity(file: Path, sop_class: str, sop_uid: str) -> _Identity:
    """UIDs of a data set that agree with its C-STORE request and are UIDs."""
    import pydicom

    tags = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)
        uids = {tag: str(header.get(tag, "")) for tag in tags}
    except Exception as error:
        raise _NotAcceptableError(CANNOT_UNDERSTAND, f"it cannot be read ({place_of(error)})") from error
    for tag, value in uids.items():
        if not is_uid(value):
            raise _NotAcceptableError(DOES_NOT_MATCH, f"{tag} is missing or no UID")
    if uids["SOPClassUID"] != sop_class or uids["SOPInstanceUID"] != sop_uid:
        raise _NotAcceptableError(DOES_NOT_MATCH, "SOP class or instance UID differ from the C-STORE request's")
    return _Identity(uids["SeriesInstanceUID"], uids["SOPInstanceUID"])


def still_image_syntaxes() -> list[str]:
    """Transfer syntax UIDs that are accepted: native, deflated, RLE and the JPEG families; no video."""
    from pydicom import uid

    native = [
        uid.ExplicitVRLittleEndian,
        uid.ImplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
    ]
    families = (uid.JPEGTransferSyntaxes, uid.JPEGLSTransferSyntaxes, uid.JPEG2000TransferSyntaxes)
    return [str(one) for one in (*native, *(s for f in families for s in f), *uid.RLETransferSyntaxes)]
