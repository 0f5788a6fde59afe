"""The findings as a structured report: Comprehensive 3D SR, root template TID 1500."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom as hd
from highdicom.sr import (
    AlgorithmIdentification,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from lesion_app.clinical import private_codes
from lesion_app.clinical.axial_places import AxialPlace
from lesion_app.clinical.identifiers import FindingsIdentity
from lesion_app.clinical.lesion_boxes import LesionBoxes
from lesion_app.clinical.measurement_report import lesion_group, measurement_report
from lesion_app.clinical.result_header import MANUFACTURER, ResultHeader
from lesion_app.clinical.source_series import SourceSeries

_SCORE_DIGITS = 4


def structured_report(
    document: Mapping[str, Any],
    lesions: Sequence[LesionBoxes],
    source: SourceSeries,
    places: Sequence[AxialPlace | None],
    header: ResultHeader,
) -> Dataset:
    """One planar measurement group (TID 1410) a lesion, or one group (TID 1501) that says that none was found.

    A lesion's group (`lesion_group`) also holds the score, and which algorithm with which weights.

    Args:
        document: the content of ``lesions.json``.
        lesions: its lesions.
        source: the CT; all its images become evidence.
        places: one an axial slice, given at least for every key slice.
        header: see :class:`ResultHeader`.

    Source:
        DICOM PS3.16 TID 1500, 1410, 1501, 4019; IHE Radiology AI Results (AIR).
    """
    algorithm = _algorithm(header.identity)
    if lesions:
        groups: list[Any] = [
            lesion_group(
                lesion,
                lesion.name,
                document["grid"],
                source,
                places[lesion.key_slice],
                header,
                [Measurement(private_codes.DETECTION_SCORE, round(lesion.score, _SCORE_DIGITS), codes.UCUM.NoUnits)],
                algorithm,
            )
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
    context = hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )
    return measurement_report(groups, context, source, header)


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
