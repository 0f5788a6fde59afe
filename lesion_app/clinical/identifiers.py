"""UIDs that are the same whenever the same software looks at the same series with the same model."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_NAMESPACE = uuid.UUID("6f0e2f2c-54c1-5d0b-9a6e-3a7d6c1b8f10")


@dataclass(frozen=True)
class FindingsIdentity:
    """What the findings of one CT were made from; every UID is derived from it.

    Args:
        series_uid: Series Instance UID of the CT.
        images_sha256: of the sorted SOP Instance UIDs: a series that has grown since is another input.
        network, weights_sha256, config_sha256: the model and the config files in their order.
        software, version: name and version of this program.
        score_threshold: lesions with a lower score were left out.
    """

    series_uid: str
    images_sha256: str
    network: str
    weights_sha256: str
    config_sha256: str
    software: str
    version: str
    score_threshold: float

    @classmethod
    def of(cls, document: Mapping[str, Any], series_uid: str, instance_uids: Iterable[str]) -> FindingsIdentity:
        """Identity of what ``document`` (the content of ``lesions.json``) says about a series of these instances."""
        return cls(
            series_uid=series_uid,
            images_sha256=_sha256(sorted(instance_uids)),
            network=document["model"]["network"],
            weights_sha256=document["model"]["sha256"],
            config_sha256=_sha256(file["sha256"] for file in document["config"]["files"]),
            software=document["software"]["name"],
            version=document["software"]["version"],
            score_threshold=float(document["score_threshold"]),
        )

    def uid(self, *role: str | int) -> str:
        """UID of what plays ``role``, such as ("sr", "instance", 1): 2.25 and a name-based UUID.

        Source: DICOM PS3.5 B.2 (UUID-derived UIDs), RFC 9562 section 5.5 (version 5).
        """
        made_from = (
            self.series_uid,
            self.images_sha256,
            self.network,
            self.weights_sha256,
            self.config_sha256,
            self.software,
            self.version,
            repr(self.score_threshold),
        )
        return f"2.25.{uuid.uuid5(_NAMESPACE, chr(10).join([*made_from, *map(str, role)])).int}"

    def tracking_uid(self, lesion: int) -> str:
        """UID that names one lesion in every form of the findings."""
        return self.uid("lesion", lesion)


def _sha256(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
