"""The findings as a structured report: Comprehensive 3D SR, root template TID 1500."""

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
from lesion_app.clinical.identifiers import FindingsIdentity
from lesion_app.clinical.lesion_boxes import LesionBoxes
from lesion_app.clinical.result_header import MANUFACTURER, ResultHeader, reference_header
from lesion_app.clinical.source_series import SourceSeries

_MM_DIGITS = 2
_SCORE_DIGITS = 4


def structured_report(
    document: Mapping[str, Any],
    lesions: Sequence[LesionBoxes],
    source: SourceSeries,
    places: Sequence[AxialPlace | None],
    header: ResultHeader,
) -> Dataset:
    """One planar measurement group (TID 1410) a lesion, or one group (TID 1501) that says that none was found.

    A group holds the box on the key slice (Image Region, SCOORD, px of that very image), the two end faces of the 3D
    box (SCOORD3D, LPS mm; an item that TID 1410 as an extensible template may be given), both sides of the key-slice
    box and the extent across slices in mm, the score, and which algorithm with which weights.

    Args:
        document: the content of ``lesions.json``.
        lesions: its lesions.
        source: the CT; all its images become evidence.
        places: one an axial slice, given at least for every key slice.
        header: see :class:`ResultHeader`.

    Source:
        DICOM PS3.16 TID 1500, 1410, 1501, 4019; IHE Radiology AI Results (AIR).
    """
    evidence = [reference_header(source, one) for one in source.headers]
    algorithm = _algorithm(header.identity)
    if lesions:
        groups: list[Any] = [
            _lesion_group(lesion, document["grid"], source, places[lesion.key_slice], header.identity, algorithm)
            for lesion in lesions
        ]
    else:
        groups = [_nothing_found(document, header.identity, algorithm)]
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=header.identity.uid("device"),
        name=header.identity.software,
        manufacturer_name=MANUFACTURER,
        model_name=header.identity.network,
        serial_number=header.identity.weights_sha256,
    )
    content = MeasurementReport(
        observation_context=hd.sr.ObservationContext(
            observer_device_context=hd.sr.ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=device
            )
        ),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = hd.sr.Comprehensive3DSR(
        evidence=evidence,
        content=content[0],
        is_complete=True,
        is_final=True,
        is_verified=False,
        coding_schemes=private_codes.coding_schemes(),
        **header.arguments("sr"),
    )
    return header.complete(report)


def _algorithm(identity: FindingsIdentity) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=f"{identity.software} {identity.network}",
        version=identity.version,
        family=codes.DCM.ArtificialIntelligence,
        parameters=[
            f"weights SHA-256: {identity.weights_sha256}",
            f"configuration SHA-256: {identity.config_sha256}",
            f"lowest score reported: {identity.score_threshold:g}",
        ],
    )


def _lesion_group(
    lesion: LesionBoxes,
    grid: Mapping[str, Any],
    source: SourceSeries,
    place: AxialPlace | None,
    identity: FindingsIdentity,
    algorithm: AlgorithmIdentification,
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
        tracking_identifier=TrackingIdentifier(uid=identity.tracking_uid(lesion.number), identifier=lesion.name),
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
            Measurement(private_codes.DETECTION_SCORE, round(lesion.score, _SCORE_DIGITS), codes.UCUM.NoUnits),
            *(Measurement(name, round(value, _MM_DIGITS), codes.UCUM.Millimeter) for name, value in millimetres),
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


def _nothing_found(
    document: Mapping[str, Any], identity: FindingsIdentity, algorithm: AlgorithmIdentification
) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=identity.uid("no finding"), identifier="No lesion found"),
        finding_type=codes.SCT.Lesion,
        algorithm_id=algorithm,
        measurements=[
            Measurement(private_codes.NUMBER_FOUND, 0, codes.UCUM.NoUnits),
            Measurement(private_codes.SCORE_THRESHOLD, float(document["score_threshold"]), codes.UCUM.NoUnits),
        ],
        qualitative_evaluations=[QualitativeEvaluation(private_codes.DETECTION_RESULT, private_codes.ABSENT)],
    )
