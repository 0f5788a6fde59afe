"""A reader's boxes as a structured report: Comprehensive 3D SR, root template TID 1500, observed by a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom as hd
from highdicom.sr import MeasurementsAndQualitativeEvaluations, QualitativeEvaluation, TrackingIdentifier
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from lesion_app.clinical import private_codes
from lesion_app.clinical.axial_places import AxialPlace
from lesion_app.clinical.lesion_boxes import LesionBoxes
from lesion_app.clinical.measurement_report import lesion_group, measurement_report
from lesion_app.clinical.result_header import ResultHeader
from lesion_app.clinical.source_series import SourceSeries


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
        lesion_group(lesion, f"{name} {lesion.number}", document["grid"], source, places[lesion.key_slice], header)
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
    context = hd.sr.ObservationContext(observer_person_context=observer)
    return measurement_report(groups, context, source, header)


def _person_name(by: str) -> str:
    """A DICOM person name of ASCII letters, which every character set of the CT contains."""
    plain = by.encode("ascii", "replace").decode().replace("\\", " ").replace("=", " ").strip()
    plain = plain[:63] or "unknown"
    return plain if "^" in plain else plain + "^"  # a family name alone, as DICOM writes it
