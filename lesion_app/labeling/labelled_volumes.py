"""What the label server keeps of every volume: what the model found there, and what readers answered."""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from lesion_app.data.datalist import load_records, write_datalist
from lesion_app.data.record import Record
from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import read_lesions_json, write_lesions_json
from lesion_app.labeling.box_masks import read_mask_rois
from lesion_app.labeling.reader_label import ReaderAnswer, answered_record, enter_finds, open_score, record_of_volume
from lesion_app.labeling.reviewed_datalist import REVIEWED_SPLIT
from lesion_app.labeling.roi_markups import LesionRoi, read_markups
from lesion_app.labeling.volume_finder import VolumeFinder
from transforms.ct_reader import open_ct
from transforms.ct_source import CTSource

FINAL, ORIGINAL, FINDS, RECORD = "final", "original", "finds", "record"
UNNAMED = "unnamed reader"


class LabelStore(Protocol):
    """The part of MONAI Label's datastore that is used here; a label is a file of one image under one tag."""

    def list_images(self) -> list[str]: ...

    def get_image_uri(self, image_id: str) -> str: ...

    def get_image_info(self, image_id: str) -> dict[str, Any]: ...

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None: ...

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]: ...

    def get_label_uri(self, label_id: str, label_tag: str) -> str: ...

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]: ...

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str: ...


class LabelledVolumes:
    """Finds, answers and records of the volumes of a store.

    Beside a reader's label (tag ``final``) a volume has what a model found (``finds``: ``lesions.json``) and its record
    with the readers' answers (``record``: a datalist of one, which ``lesion-app review`` reads). The store keeps what
    one of these held before.

    Args:
        store: see :class:`LabelStore`.
        finder: looks at volumes.
    """

    def __init__(self, store: LabelStore, finder: VolumeFinder) -> None:
        self.store = store
        self.finder = finder

    def ct_path(self, image_id: str) -> Path:
        """The CT: the DICOM series a NIfTI file was made of where it lies beside it, else the file.

        Raises:
            InputError: the store has no such image.
        """
        uri = self.store.get_image_uri(image_id)
        if not uri:
            raise InputError("the store has no image of that id; ask for its list of images")
        return dicom_behind(Path(uri))

    def source(self, image_id: str) -> CTSource:
        """The opened CT; InputError when it cannot be read."""
        return open_ct(self.ct_path(image_id))

    def keep_finds(self, image_id: str, document: dict[str, Any], *, shown: bool) -> None:
        """Store what a model found; ``shown`` tells that a reader is given it to see.

        What a reader was shown stays what he is taken to have seen until other finds are shown; a look of a scoring
        (``shown`` False) with the same model changes nothing then.
        """
        before = self._info(image_id, FINDS)
        same = before.get("model") == document["model"]["sha256"]
        if before.get("shown") and not shown and same:
            return
        info = {"shown": shown, "model": document["model"]["sha256"], "count": len(document["lesions"])}
        with tempfile.TemporaryDirectory() as folder:
            path = write_lesions_json(document, Path(folder) / "finds.json")
            self.store.save_label(image_id, str(path), FINDS, info)
        self._tell(image_id, document)

    def look(self, image_id: str, *, device: str = "cpu", anew: bool = False) -> dict[str, Any]:
        """What the current model finds in a volume; it looks only where another model, or none, did before."""
        if not anew and self._info(image_id, FINDS).get("model") == self.finder.model_version():
            known = self.finds(image_id)
            if known is not None:
                return known
        document = self.finder.find(self.ct_path(image_id), device=device)
        self.keep_finds(image_id, document, shown=False)
        return document

    def finds(self, image_id: str) -> dict[str, Any] | None:
        """What was found last, None where no model looked."""
        path = self._path(image_id, FINDS)
        return None if path is None else read_lesions_json(path)

    def label_rois(self, image_id: str) -> list[LesionRoi] | None:
        """The boxes of the reader's label, of a mask those of its parts; None without a label."""
        path = self._path(image_id, FINAL)
        if path is None:
            return None
        return read_markups(path) if path.suffix == ".json" else read_mask_rois(path, self.source(image_id).geometry)

    def record(self, image_id: str) -> Record | None:
        """The record with all answers, None where nobody answered."""
        path = self._path(image_id, RECORD)
        return None if path is None else load_records(path, REVIEWED_SPLIT, path.parent)[0]

    def take_up_label(self, image_id: str) -> Record:
        """Turn the label that was just saved into answers, and store the volume's record.

        Of the label's info are read: ``client_id`` or ``user`` (who), ``complete`` (every lesion is marked) and
        ``absent`` (``unknown``: boxes missing from the label were not looked at).

        Raises:
            InputError: there is no label, or a box of it lies outside the CT.
        """
        rois = self.label_rois(image_id)
        if rois is None:
            raise InputError("the image has no saved label; save one first")
        info = self._info(image_id, FINAL)
        document = self.finds(image_id)
        geometry = self.source(image_id).geometry
        seen = self._info(image_id, FINDS).get("shown") is True and info.get("absent") != "unknown"
        answer = ReaderAnswer(
            by=str(info.get("client_id") or info.get("user") or UNNAMED),
            at=datetime.fromtimestamp(int(info["ts"]), timezone.utc) if "ts" in info else None,
            shown=seen,
            complete=info.get("complete") is True,
        )
        record = answered_record(
            record_of_volume(image_id, self.ct_path(image_id), geometry, self._patient(image_id)),
            document,
            rois,
            geometry,
            answer,
            label_of=self.finder.label_of,
            earlier=self.record(image_id),
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "record.json"
            write_datalist(path, {"dataset": "labelled"}, {REVIEWED_SPLIT: [record], "validation": [], "test": []})
            self.store.save_label(image_id, str(path), RECORD, {"by": answer.by, "complete": answer.complete})
        if document is not None:
            self._tell(image_id, document)
        return record

    def is_complete(self, image_id: str) -> bool:
        """Whether a reader said that every lesion of the volume is marked."""
        return self._info(image_id, FINAL).get("complete") is True

    def training_records(self) -> list[Record]:
        """Records of all labelled volumes; finds that nobody answered are ``mined`` in them.

        Raises:
            InputError: no volume has a label.
        """
        records = []
        for image_id in sorted(self.store.list_images()):
            if self._path(image_id, FINAL) is None:
                continue
            record = self.record(image_id)
            if record is None:  # a label that came from elsewhere, as from the PACS
                record = self.take_up_label(image_id)
            document = self.finds(image_id)
            if document is not None:
                enter_finds(record, document)
            record["image"] = str(self.ct_path(image_id))
            records.append(record)
        if not records:
            raise InputError("no volume has a saved label to train on; save one first")
        return records

    def write_training_datalist(self, path: Path, val_split: float = 0.2, seed: int = 0) -> dict[str, int]:
        """Write the datalist of a training and return how many boxes of each kind it holds, by kind.

        Args:
            path: file.
            val_split: share of the patients with a lesion that validate and do not train, 0..1. With one such patient
                the same volumes do both, which tells little.
            seed: which patients those are.

        Raises:
            InputError: no label, no lesion in any label, or a share out of range.
        """
        if not 0 <= val_split < 1:
            raise InputError(f"the share of volumes that validate must lie in 0..1, got {val_split}")
        records = self.training_records()
        ill = {r["patient_id"] for r in records if any(a["kind"] == "lesion" for a in r["annotations"])}
        if not ill:
            raise InputError("no label has a confirmed lesion; training needs one at least")
        drawn = sorted(ill)
        random.Random(seed).shuffle(drawn)
        held_out = set(drawn[: min(len(drawn) - 1, max(1, round(val_split * len(drawn))))] if val_split else [])
        training = [r for r in records if r["patient_id"] not in held_out]
        validation = [r for r in records if r["patient_id"] in held_out] or [
            r for r in records if r["patient_id"] in ill
        ]
        splits: dict[str, list[Record]] = {REVIEWED_SPLIT: training, "validation": validation, "test": []}
        write_datalist(path, {"dataset": "labelled"}, splits)
        kinds = [a["kind"] for r in records for a in r["annotations"]]
        return {kind: kinds.count(kind) for kind in ("lesion", "negative", "mined", "ignore")} | {
            "training": len(training),
            "validation": len(validation),
        }

    def _tell(self, image_id: str, document: dict[str, Any]) -> None:
        """Put the number of lesions that seem to lack a label beside the image, where strategies look."""
        record = self.record(image_id)
        expected = open_score([] if record is None else record["annotations"], document)
        self.store.update_image_info(image_id, {"missing_score": expected})

    def _patient(self, image_id: str) -> str:
        """A name for the patient that does not tell who it is; empty where the store does not know."""
        known = str(self.store.get_image_info(image_id).get("PatientID") or "")
        return "" if known in ("", "UNK") else hashlib.sha256(known.encode()).hexdigest()[:12]

    def _info(self, image_id: str, tag: str) -> dict[str, Any]:
        return self.store.get_label_info(image_id, tag) or {}

    def _path(self, image_id: str, tag: str) -> Path | None:
        if tag not in self.store.get_labels_by_image_id(image_id):
            return None
        path = Path(self.store.get_label_uri(image_id, tag) or "")
        return path if path.is_file() else None


def dicom_behind(path: Path) -> Path:
    """The folder of DICOM files that a DICOMweb store keeps beside the NIfTI it made of them, else ``path``."""
    name = path.name
    for end in (".nii.gz", ".nii"):
        if name.endswith(end):
            folder = path.with_name(name[: -len(end)])
            if folder.is_dir() and any(folder.iterdir()):
                return folder
    return path


def most_suspected(volumes: LabelledVolumes, served: dict[str, float], image_ids: Sequence[str]) -> str | None:
    """The volume to label next: the one where most lesions are expected to lack a label.

    Args:
        volumes: tells the expectation (``missing_score``) and which volumes are complete; those are not offered.
        served: when each image was offered last (seconds), for those offered of late: they come after all others, the
            longest ago first.
        image_ids: to choose from. Equal volumes come in order of their id, those nobody looked at as if nothing was
            expected there.

    Returns:
        its id, None when every volume is complete.
    """
    open_ids = [one for one in sorted(image_ids) if not volumes.is_complete(one)]
    if not open_ids:
        return None

    def rank(image_id: str) -> tuple[float, float]:
        expected = float(volumes.store.get_image_info(image_id).get("missing_score") or 0.0)
        return (-expected, 0.0) if image_id not in served else (1.0, served[image_id])

    return min(open_ids, key=rank)
