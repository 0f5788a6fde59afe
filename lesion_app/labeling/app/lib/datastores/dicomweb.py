"""The PACS as a store: boxes go there as structured reports, masks as segmentations, and come back from there."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore
from monailabel.datastore.utils.convert import binary_to_image, dicom_to_nifti
from monailabel.datastore.utils.dicom import dicom_web_download_series
from pydicom.dataset import Dataset

from lesion_app.data.mask_lesions import lesions_of_mask
from lesion_app.data.record import UNKNOWN_TYPE
from lesion_app.errors import InputError
from lesion_app.labeling.app.lib.datastores.kept_labels import KeptLabels
from lesion_app.labeling.box_masks import read_mask
from lesion_app.labeling.labelled_volumes import FINAL, UNNAMED, dicom_behind
from lesion_app.labeling.reader_findings import REPORT_DESCRIPTION, reader_findings, rois_of_report
from lesion_app.labeling.roi_markups import LesionRoi, read_markups, write_markups
from transforms.ct_reader import open_ct

logger = logging.getLogger("lesion_app.labeling")

_MASKS = (".bin", ".nii", ".nii.gz", ".nrrd", ".seg.nrrd")
_SECONDS_REMEMBERED = 30.0


class LesionDicomWebStore(KeptLabels, DICOMWebDatastore):
    """Upstream's DICOMweb store for boxes.

    * A final label is stored in the PACS: boxes as a Comprehensive 3D SR, a mask as a segmentation beside its SR. Each
      save is a new series; nothing in the PACS is replaced or removed.
    * A label that another server stored there (an SR of ours, or any segmentation of the series) is read back where
      this one has none of its own.
    * Listing and training never remove a label. (Upstream's ``datalist`` deletes every local one that has no
      segmentation in the PACS.)
    """

    def get_image_uri(self, image_id: str) -> str:
        """The series as NIfTI, fetched when it is asked for first; InputError when the PACS does not have it."""
        known = LocalDatastore.get_image_uri(self, image_id)
        if known and os.path.isfile(known):
            return known
        if image_id not in self.list_images():
            raise InputError("the PACS has no such CT series under this server's search filter; ask for its list")
        return str(DICOMWebDatastore.get_image_uri(self, image_id))

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any], label_id: str = ""
    ) -> str:
        """Store a label, a final one in the PACS first: when that fails nothing is stored here either."""
        image_uri = self.get_image_uri(image_id)
        made = None
        try:
            if label_filename.endswith(".bin"):  # OHIF sends the bare voxels
                made = label_filename = binary_to_image(image_uri, label_filename)
            if label_tag == FINAL:
                label_info["SeriesInstanceUID"] = self._store_in_pacs(image_id, Path(label_filename), label_info)
            return super().save_label(image_id, label_filename, label_tag, label_info)
        finally:
            if made:
                Path(made).unlink(missing_ok=True)

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        """Where a label lies here, empty when there is none; upstream would take the id for a series of the PACS."""
        return str(LocalDatastore.get_label_uri(self, label_id, label_tag))

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Tags of an image's labels; one that only the PACS has is fetched now."""
        labels: dict[str, str] = LocalDatastore.get_labels_by_image_id(self, image_id)
        if FINAL not in labels and image_id in self._labelled_in_pacs():
            self._fetch_label(image_id)
            labels = LocalDatastore.get_labels_by_image_id(self, image_id)
        return labels

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Images with a final label, here or in the PACS."""
        return sorted({*LocalDatastore.get_labeled_images(self), *self._labelled_in_pacs()})

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """The other images of the PACS."""
        return sorted(set(self.list_images()) - set(self.get_labeled_images()))

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Pairs of image and label; labels that only the PACS has are fetched, none is removed."""
        for image_id in self._labelled_in_pacs():
            self.get_labels_by_image_id(image_id)
        pairs: list[dict[str, Any]] = LocalDatastore.datalist(self, full_path)
        return pairs

    def _store_in_pacs(self, image_id: str, label: Path, info: dict[str, Any]) -> str:
        """Store the label beside its series; returns the UID of the report's series."""
        folder = dicom_behind(Path(self.get_image_uri(image_id)))
        source = open_ct(folder)
        if label.suffix == ".json":
            rois, masks = read_markups(label), None
        else:
            rois, masks = _parts_of(label, source.geometry)
        made = reader_findings(
            source,
            sorted(path for path in folder.iterdir() if path.is_file()),
            rois,
            by=str(info.get("client_id") or info.get("user") or UNNAMED),
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            masks=masks,
        )
        self._client.store_instances(made)
        self.__dict__.pop("_in_pacs", None)
        return str(made[0].SeriesInstanceUID)

    def _labelled_in_pacs(self) -> dict[str, tuple[str, str, str]]:
        """Image -> (modality, study, series) of its newest label in the PACS; asked at most twice a minute."""
        known = self.__dict__.get("_in_pacs")
        if known is not None and time.monotonic() - known[0] < _SECONDS_REMEMBERED:
            return known[1]
        images = set(self.list_images())
        heads: dict[str, tuple[set[str], str]] = self.__dict__.setdefault("_label_heads", {})
        newest: dict[str, tuple[str, tuple[str, str, str]]] = {}
        for modality in ("SEG", "SR"):
            found = self._client.search_for_series(search_filters={"Modality": modality}, fields=["SeriesDescription"])
            for one in map(Dataset.from_json, found):
                if modality == "SR" and one.get("SeriesDescription") not in (None, "", REPORT_DESCRIPTION):
                    continue
                study, series = str(one.StudyInstanceUID), str(one.SeriesInstanceUID)
                if series not in heads:
                    heads[series] = self._head(study, series, modality)
                referenced, made = heads[series]
                for image in referenced & images:
                    # of one moment the report counts: its boxes are exact
                    if image not in newest or (made, modality) >= (newest[image][0], newest[image][1][0]):
                        newest[image] = (made, (modality, study, series))
        labels = {image: place for image, (_, place) in newest.items()}
        self.__dict__["_in_pacs"] = (time.monotonic(), labels)
        return labels

    def _head(self, study: str, series: str, modality: str) -> tuple[set[str], str]:
        """The series a label refers to (none for a report of somebody else), and when it was made."""
        head = Dataset.from_json(self._client.retrieve_series_metadata(study, series)[0])
        made = str(head.get("ContentDate", "")) + str(head.get("ContentTime", ""))
        if modality == "SEG":
            return {str(one.SeriesInstanceUID) for one in head.get("ReferencedSeriesSequence") or ()}, made
        if head.get("SeriesDescription") != REPORT_DESCRIPTION:
            return set(), made
        evidence = head.get("CurrentRequestedProcedureEvidenceSequence") or ()
        return {str(one.SeriesInstanceUID) for item in evidence for one in item.ReferencedSeriesSequence}, made

    def _fetch_label(self, image_id: str) -> None:
        modality, study, series = self._labelled_in_pacs()[image_id]
        self.get_image_uri(image_id)
        info = {"SeriesInstanceUID": series, "Modality": modality}
        with tempfile.TemporaryDirectory() as folder:
            if modality == "SR":
                report = self._client.retrieve_series(study, series)[0]
                path = write_markups(Path(folder) / "label.json", rois_of_report(report))
                info["user"] = _observer(report)
                KeptLabels.save_label(self, image_id, str(path), FINAL, info)
                return
            dicom_web_download_series(study, series, folder, self._client)
            mask = dicom_to_nifti(folder, is_seg=True)
        if mask is None:
            logger.warning("a segmentation of the PACS could not be read and is left out")
            return
        try:
            KeptLabels.save_label(self, image_id, mask, FINAL, info)
        finally:
            Path(mask).unlink(missing_ok=True)


def _parts_of(label: Path, geometry: Any) -> tuple[list[LesionRoi], np.ndarray]:
    """Boxes of a mask's parts in LPS mm, and the mask with the number of its part in every voxel."""
    mask = read_mask(label, geometry)
    rois: list[LesionRoi] = []
    numbered = np.zeros(mask.shape, np.int64)
    for value in (int(one) for one in np.unique(mask) if one):
        for lesion in lesions_of_mask(mask, [value], UNKNOWN_TYPE):
            x1, y1, z1, x2, y2, z2 = (int(edge) for edge in lesion.extent)
            window = (slice(z1, z2), slice(y1, y2), slice(x1, x2))
            edges = geometry.boxes_to_lps([lesion.extent])[0].tolist()
            rois.append(LesionRoi((edges[0], edges[1], edges[2], edges[3], edges[4], edges[5])))
            part = (mask[window] == value) & (numbered[window] == 0)
            numbered[window][part] = len(rois)
    return rois, numbered


def _observer(report: Dataset) -> str:
    """Name of the person who observed a report, empty when none is told."""
    for item in report.get("ContentSequence", []):
        names = item.get("ConceptNameCodeSequence")
        if names and names[0].get("CodeValue") == "121008":  # DCM, Person Observer Name
            return str(item.get("PersonName", "")).rstrip("^")
    return ""
