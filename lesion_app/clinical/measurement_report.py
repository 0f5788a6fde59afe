"""Comprehensive 3D SR with root template TID 1500: what the model's report and a reader's have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ImageRegion,
    Measurement,
    MeasurementReport,
    PlanarROIMeasurementsAndQualitativeEvaluations,
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


def measurement_report(
    groups: Sequence[Any], observer: hd.sr.ObservationContext, source: SourceSeries, header: ResultHeader
) -> Dataset:
    """A whole report with the given measurement groups; all images of the CT become evidence.

    Source:
        DICOM PS3.16 TID 1500.
    """
    content = MeasurementReport(
        observation_context=observer,
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


def lesion_group(
    lesion: LesionBoxes,
    name: str,
    grid: Mapping[str, Any],
    source: SourceSeries,
    place: AxialPlace | None,
    header: ResultHeader,
    measurements: Sequence[Measurement] = (),
    algorithm: AlgorithmIdentification | None = None,
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """Planar measurement group (TID 1410) of a lesion.

    The box on the key slice (Image Region, SCOORD, px of that very image), the two end faces of the 3D box (SCOORD3D,
    LPS mm; an item that TID 1410 as an extensible template may be given), both sides of the key-slice box and the
    extent across slices in mm.

    Args:
        lesion: its boxes.
        name: identifier by which it is tracked.
        grid: of the findings' document.
        source: the CT.
        place: of the key slice.
        header: whose identity gives the tracking UID.
        measurements: more of them, which come first.
        algorithm: that found the lesion; None = a person.
    """
    assert place is not None
    x1, y1, x2, y2 = place.boxes_to_image(lesion.key_box)[0]
    longer, shorter = lesion.key_sides_mm(grid["spacing_mm"])
    millimetres = [
        (private_codes.LONGEST_DIAMETER, longer),
        (private_codes.SHORT_DIAMETER, shorter),
        (private_codes.HEIGHT, lesion.height_mm(grid["spacing_mm"])),
    ]
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=header.identity.tracking_uid(lesion.number), identifier=name),
        referenced_region=ImageRegion(
            graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
            graphic_data=np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]),
            source_image=SourceImageForRegion(place.plane.sop_class_uid, place.plane.instance_uid, place.plane.frames),
        ),
        geometric_purpose=codes.SCT.BoundedBy,
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_type=codes.SCT.Lesion,
        algorithm_id=algorithm,
        measurements=[
            *measurements,
            *(Measurement(kind, round(value, _MM_DIGITS), codes.UCUM.Millimeter) for kind, value in millimetres),
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
