"""Ways to hand a result to the PACS: C-STORE and STOW-RS."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lesion_app.clinical.node.settings import NodeSettings
from lesion_app.clinical.node.tls import client_context

_TIMEOUT_S = 30.0
# PS3.4 table B.2-1 and PS3.18 table I.2-2: the PACS has the instance already, from a try whose answer was lost.
_DUPLICATE = 0x0111


class PacsAwayError(Exception):
    """The PACS cannot take anything at the moment; the message says why in a few words."""


class Delivery(ABC):
    """A conversation with the PACS, open inside a ``with`` block.

    Raises:
        PacsAwayError: on entering, or from :meth:`store`, when the PACS is not to be reached.
    """

    @abstractmethod
    def __enter__(self) -> Delivery: ...

    @abstractmethod
    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None: ...

    @abstractmethod
    def store(self, file: Path) -> str | None:
        """Hand over one file: None once the PACS holds it, else why it refuses it."""


def open_delivery(settings: NodeSettings, files: Sequence[Path]) -> Delivery:
    """The way ``settings.pacs`` names, prepared for ``files``; nothing is sent yet."""
    if settings.pacs.url:
        return _StowRs(settings)
    return _CStore(settings, files)


def judge(status: int) -> str | None:
    """A storage status in words, None for success.

    Raises:
        PacsAwayError: when the PACS lacks room (0xA7xx), which passes.
    """
    if status in (0x0000, _DUPLICATE) or 0xB000 <= status <= 0xBFFF:
        return None
    if 0xA700 <= status <= 0xA7FF:
        raise PacsAwayError(f"out of resources (0x{status:04X})")
    return f"the PACS refused a result with status 0x{status:04X}"


class _CStore(Delivery):
    def __init__(self, settings: NodeSettings, files: Sequence[Path]) -> None:
        import pydicom

        self.settings = settings
        metas = [pydicom.filereader.read_file_meta_info(file) for file in files]
        self.contexts = {(str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)) for meta in metas}
        self.association: Any = None

    def __enter__(self) -> Delivery:
        from pynetdicom import AE

        pacs = self.settings.pacs
        entity = AE(ae_title=self.settings.ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
        entity.connection_timeout = 10.0
        for sop_class, syntax in sorted(self.contexts):
            entity.add_requested_context(sop_class, syntax)
        tls = None
        if pacs.tls:
            assert self.settings.tls is not None
            tls = (client_context(self.settings.tls), pacs.host)
        self.association = entity.associate(pacs.host, pacs.port, ae_title=pacs.ae_title, tls_args=tls)
        if not self.association.is_established:
            raise PacsAwayError(
                f"it rejects associations from {self.settings.ae_title}"
                if self.association.is_rejected
                else "no association"
            )
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.association.is_established:
            self.association.release()

    def store(self, file: Path) -> str | None:
        from pydicom import dcmread

        dataset = dcmread(file)
        if not self.association.is_established:
            raise PacsAwayError("the association was broken")
        accepted = {
            (str(one.abstract_syntax), str(one.transfer_syntax[0])) for one in self.association.accepted_contexts
        }
        meta = dataset.file_meta
        if (str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)) not in accepted:
            return f"the PACS does not take {meta.MediaStorageSOPClassUID.name} in {meta.TransferSyntaxUID.name}"
        status = self.association.send_c_store(dataset)
        if "Status" not in status:
            raise PacsAwayError("no answer to a C-STORE")
        return judge(int(status.Status))


class _StowRs(Delivery):
    def __init__(self, settings: NodeSettings) -> None:
        import requests
        from dicomweb_client import DICOMwebClient

        # The session takes credentials from ~/.netrc, and authorities from REQUESTS_CA_BUNDLE unless they are named.
        self.session = requests.Session()
        if settings.tls is not None:
            self.session.cert = (str(settings.tls.certificate), str(settings.tls.key))
            if settings.tls.authorities is not None:
                self.session.verify = str(settings.tls.authorities)
        self.response: Any = None
        self.client = DICOMwebClient(
            settings.pacs.url,
            session=self.session,
            timeout=_TIMEOUT_S,
            headers={"Accept": "application/dicom+json"},
            callback=self._keep_response,
        )
        # The sender waits and tries again itself, across restarts too.
        self.client.set_http_retry_params(retry=False)

    def _keep_response(self, response: Any, *_: Any, **__: Any) -> Any:
        self.response = response
        return response

    def __enter__(self) -> Delivery:
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.session.close()

    def store(self, file: Path) -> str | None:
        import requests
        from pydicom import dcmread

        self.response = None
        try:
            self.client.store_instances([dcmread(file)])
        except requests.RequestException as error:
            if self.response is None:
                raise PacsAwayError(type(error).__name__) from error
        except (KeyError, ValueError):
            # The client understands few forms of the answer's body; it is judged below.
            if self.response is None:
                raise
        return judge_stow(self.response.status_code, self.response.content)


def judge_stow(http_status: int, body: bytes) -> str | None:
    """The answer to a STOW-RS request with one instance, None for success (PS3.18 section 10.5.3).

    Raises:
        PacsAwayError: when the server, not the instance, is what does not fit; that is the site's to mend.
    """
    from pydicom import Dataset

    if http_status in (401, 403, 404, 408, 429) or http_status >= 500:
        raise PacsAwayError(f"HTTP {http_status}")
    try:
        failed = Dataset.from_json(body.decode()).get("FailedSOPSequence", None)
    except Exception:
        # Some servers answer in XML only, or not at all.
        failed = None
    if failed:
        return judge(int(failed[0].get("FailureReason", 0x0110)))
    return None if http_status == 200 else f"the PACS refused a result with HTTP {http_status}"
