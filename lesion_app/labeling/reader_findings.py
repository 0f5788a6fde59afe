"""A reader's label as DICOM: boxes as a structured report, masks as a segmentation, and both read back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lesion_app.boxes.tracklet import Box3D, Tracklet
from lesion_app.data.patient_boxes import boxes_from_lps, slice_boxes
from lesion_app.errors import InputError
from lesion_app.inferers.lesions_json import lesions_document
from lesion_app.labeling.roi_markups import LESION, LesionRoi
from transforms.ct_source import CTSource

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

REPORT_DESCRIPTION = "Lesions marked by a reader: report"
SEGMENTS_DESCRIPTION = "Lesions marked by a reader: segments"
# Apart from the model's own findings (901 to 904 in `result_header`), so that both can stand in one study.
_SERIES_SHIFT = 20


def reader_findings(
    source: CTSource,
    files: Sequence[Path],
    rois: Sequence[LesionRoi],
    *,
    by: str,
    at: str,
    masks: np.ndarray | None = None,
) -> list[Dataset]:
    """The report, and with ``masks`` the segmentation after it, to be stored beside the CT.

    The report (Comprehensive 3D SR, TID 1500) has the reader as its observer and one planar group (TID 1410) a lesion:
    the box on its middle slice (SCOORD) and the end faces of the 3D box (SCOORD3D, LPS mm). UIDs follow from what the
    label says, who said it and when: another label is another series, and none takes an earlier one's place.

    Args:
        source: the CT, opened from DICOM.
        files: its instances.
        rois: the label, LPS mm; empty says that the reader found nothing.
        by: name of the reader.
        at: when, ISO 8601 in UTC (``2026-01-31T12:00:00Z``).
        masks: int [Z, H, W] on the network grid, k the voxels of ``rois[k - 1]``.

    Raises:
        InputError: files that are no such CT, a box outside of it, or highdicom not installed.
    """
    try:
        from lesion_app.clinical.axial_places import place_axial_slices
        from lesion_app.clinical.identifiers import FindingsIdentity
        from lesion_app.clinical.lesion_boxes import lesion_boxes
        from lesion_app.clinical.result_header import ResultHeader
        from lesion_app.clinical.segmentation import segmentations
        from lesion_app.clinical.source_series import read_source_series
        from lesion_app.labeling.reader_report import reader_report
    except ImportError as error:
        raise InputError("labels as DICOM need highdicom; install it with: pip install 'lesion-app[deploy]'") from error

    document = _document(source, rois, by, at)
    series = read_source_series(document, files)
    places = place_axial_slices(document["grid"], series.planes)
    lesions = lesion_boxes(document)
    bare = [z for lesion in lesions for z in lesion.boxes if places[z] is None]
    if bare:
        raise InputError(f"axial slice {bare[0]} of the label is missing among the CT's files; fetch the series anew")
    identity = FindingsIdentity.of(document, series.uid, (str(one.SOPInstanceUID) for one in series.headers))
    header = ResultHeader(document, series, identity)
    names = [roi.type_name for roi in rois]
    made = [_own_series(reader_report(document, lesions, names, series, places, header, by), REPORT_DESCRIPTION)]
    if masks is not None and lesions:
        for one in segmentations(document, lesions, series, places, header, masks):
            for segment, name in zip(one.SegmentSequence, names):
                segment.SegmentLabel = f"{name} {segment.SegmentNumber}"
                segment.SegmentAlgorithmType = "SEMIAUTOMATIC"
                segment.SegmentAlgorithmName = identity.software
            one.ContentDescription = "Lesions marked by a reader"
            made.append(_own_series(one, SEGMENTS_DESCRIPTION))
    return made


def rois_of_report(report: Dataset) -> list[LesionRoi]:
    """The boxes of a report of :func:`reader_findings`; those of the model's own reports are read likewise.

    Raises:
        InputError: no report with 3D boxes.
    """
    from lesion_app.clinical.private_codes import BOX_3D

    if report.get("Modality") != "SR" or "ContentSequence" not in report:
        raise InputError("this DICOM object is no structured report; expected a report of lesions")
    rois = []
    for group in _items(report):
        faces = [
            np.array(item.GraphicData, dtype=np.float64).reshape(-1, 3)
            for item in group.get("ContentSequence", [])
            if item.get("ValueType") == "SCOORD3D" and _code(item) == BOX_3D.value
        ]
        if faces:
            points = np.concatenate(faces)
            edges = [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
            box: Box3D = (edges[0], edges[1], edges[2], edges[3], edges[4], edges[5])
            rois.append(LesionRoi(box, _type_name(group)))
    return rois


def _document(source: CTSource, rois: Sequence[LesionRoi], by: str, at: str) -> dict[str, Any]:
    """The label in the layout of ``lesions.json``, in the order of ``rois``."""
    from datetime import datetime

    boxes = boxes_from_lps([roi.box for roi in rois], source.geometry)
    lesions = []
    for edges in boxes:
        slices = slice_boxes(tuple(edges), source.geometry)  # type: ignore[arg-type]
        lesions.append(Tracklet(tuple(slices), tuple(slices.values()), (1.0,) * len(slices)))
    told = json.dumps([[list(roi.box), roi.type_name] for roi in rois])
    digest = hashlib.sha256("\n".join((by, at, told)).encode()).hexdigest()
    model = {"network": "reader", "file": "label", "sha256": digest}
    document = lesions_document(
        lesions,
        source.geometry,
        model=model,
        config={"files": [{"file": "label", "sha256": digest}]},
        source={"kind": source.source_kind, "series_uid": source.series_uid},
        score_threshold=0.0,
        created=datetime.fromisoformat(at.replace("Z", "+00:00")),
    )
    for entry in document["lesions"]:  # the middle slice stands for a box that has no scores
        slices_of = [one["axial_slice"] for one in entry["slices"]]
        entry["key_slice"] = slices_of[len(slices_of) // 2]
    return document


def _own_series(dataset: Dataset, description: str) -> Dataset:
    dataset.SeriesDescription = description
    dataset.SeriesNumber = int(dataset.SeriesNumber) + _SERIES_SHIFT
    return dataset


def _items(item: Dataset) -> Iterator[Dataset]:
    yield item
    for child in item.get("ContentSequence", []):
        yield from _items(child)


def _code(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeValue", "")) if names else ""


def _type_name(group: Dataset) -> str:
    """Type in the tracking identifier, which reads ``<type> <number>``."""
    for item in group.get("ContentSequence", []):
        if _code(item) == "112039":  # DCM, Tracking Identifier
            name, _, number = str(item.get("TextValue", "")).rpartition(" ")
            if name and number.isdigit():
                return LESION if name == "Lesion" else name
    return LESION
