"""A reader's boxes as a structured report: Comprehensive 3D SR, root template TID 1500, observed by a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr import (
    CodedConcept,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    Scoord3DContentItem,
    SourceImageForRegion,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from lesion_app.clinical import private_codes
from lesion_app.clinical.axial_places import AxialPlace
from lesion_app.clinical.lesion_boxes import LesionBoxes
from lesion_app.clinical.result_header import ResultHeader, reference_header
from lesion_app.clinical.source_series import SourceSeries

_MM_DIGITS = 2


def reader_report(
    document: Mapping[str, Any],
    lesions: Sequence[LesionBoxes],
    type_names: Sequence[str],
    source: SourceSeries,
    places: Sequence[AxialPlace | None],
    header: ResultHeader,
    by: str,
) -> Dataset:
    """One planar measurement group (TID 1410) a lesion, or one group (TID 1501) that says that there is none.

    As the model's own report (``lesion_app.clinical.structured_report``), but a person is the observer, and there is
    neither score nor algorithm.

    Args:
        document: the label in the layout of ``lesions.json``.
        lesions: its lesions.
        type_names: what each of them is; first word of its tracking identifier.
        source, places, header: as for the model's report.
        by: name of the reader, which may hold letters beyond ASCII.

    Source:
        DICOM PS3.16 TID 1500, 1410, 1501, 1003 (person observer).
    """
    groups: list[Any] = [
        _group(lesion, name, document["grid"], source, places[lesion.key_slice], header)
        for lesion, name in zip(lesions, type_names)
    ]
    if not groups:
        groups = [
            MeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(
                    uid=header.identity.uid("no finding"), identifier="No lesion found"
                ),
                finding_type=codes.SCT.Lesion,
                qualitative_evaluations=[QualitativeEvaluation(private_codes.DETECTION_RESULT, private_codes.ABSENT)],
            )
        ]
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(name=_person_name(by)),
    )
    content = MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = hd.sr.Comprehensive3DSR(
        evidence=[reference_header(source, one) for one in source.headers],
        content=content[0],
        is_complete=True,
        is_final=True,
        is_verified=False,
        coding_schemes=private_codes.coding_schemes(),
        **header.arguments("sr"),
    )
    return header.complete(report)


def _group(
    lesion: LesionBoxes,
    type_name: str,
    grid: Mapping[str, Any],
    source: SourceSeries,
    place: AxialPlace | None,
    header: ResultHeader,
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    assert place is not None
    x1, y1, x2, y2 = place.boxes_to_image(lesion.key_box)[0]
    longer, shorter = lesion.key_sides_mm(grid["spacing_mm"])
    millimetres = [
        (private_codes.LONGEST_DIAMETER, longer),
        (private_codes.SHORT_DIAMETER, shorter),
        (private_codes.HEIGHT, lesion.height_mm(grid["spacing_mm"])),
    ]
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=header.identity.tracking_uid(lesion.number), identifier=f"{type_name} {lesion.number}"
        ),
        referenced_region=ImageRegion(
            graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
            graphic_data=np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]),
            source_image=SourceImageForRegion(place.plane.sop_class_uid, place.plane.instance_uid, place.plane.frames),
        ),
        geometric_purpose=codes.SCT.BoundedBy,
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_type=codes.SCT.Lesion,
        measurements=[
            Measurement(name, round(value, _MM_DIGITS), codes.UCUM.Millimeter) for name, value in millimetres
        ],
    )
    group[0].ContentSequence.extend(
        Scoord3DContentItem(
            name=CodedConcept(*private_codes.BOX_3D[:3]),
            graphic_type=hd.sr.GraphicTypeValues3D.POLYGON,
            graphic_data=face,
            frame_of_reference_uid=source.frame_of_reference_uid,
            relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
        )
        for face in lesion.end_faces_lps(np.asarray(grid["affine_lps"]))
    )
    return group


def _person_name(by: str) -> str:
    """A DICOM person name of ASCII letters, which every character set of the CT contains."""
    plain = by.encode("ascii", "replace").decode().replace("\\", " ").replace("=", " ").strip()
    plain = plain[:63] or "unknown"
    return plain if "^" in plain else plain + "^"  # a family name alone, as DICOM writes it
