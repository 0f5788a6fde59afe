"""What the heads of all result files have in common: patient and study, device, times, identifiers."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from typing import Any

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import Tag

from lesion_app.clinical.identifiers import FindingsIdentity
from lesion_app.clinical.source_series import SourceSeries

MANUFACTURER = "lesion-app"
SERIES_OFFSETS = {"sr": 901, "seg": 902, "key_images": 903, "gsps": 904}
SERIES_NAMES = {
    "sr": "Lesion detection: report",
    "seg": "Lesion detection: segments",
    "key_images": "Lesion detection: key images",
    "gsps": "Lesion detection: boxes",
}
_PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "OtherPatientIDs",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "EthnicGroup",
    "PatientComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
    "StudyID",
)
_SEQUENCES = (
    "IssuerOfPatientIDQualifiersSequence",
    "DeidentificationMethodCodeSequence",
    "IssuerOfAccessionNumberSequence",
    "ProcedureCodeSequence",
)
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
# Of PS3.16 Annex L. Series of these have no laterality (PS3.3 C.7.3.1), all others one that may be empty.
_UNPAIRED_PARTS = (
    "ABDOMEN ABDOMENPELVIS AORTA BACK BLADDER BRAIN CHEST CHESTABDOMEN CHESTABDPELVIS COCCYX COLON CSPINE CTSPINE "
    "ESOPHAGUS FACE GALLBLADDER HEAD HEADNECK HEART JAW LIVER LSPINE LSSPINE MAXILLA MEDIASTINUM NECK NECKCHEST "
    "NECKCHESTABDOMEN NECKCHESTABDPELV PANCREAS PELVIS PROSTATE RECTUM SKULL SPINE SPLEEN SSPINE STERNUM STOMACH "
    "THYMUS THYROID TLSPINE TRACHEA TSPINE UTERUS WHOLEBODY"
)
_GEOMETRY = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionIndexSequence",
    "DimensionOrganizationSequence",
)
_DATES = (
    "InstanceCreationDate",
    "SeriesDate",
    "ContentDate",
    "DateOfSecondaryCapture",
    "PresentationCreationDate",
)
_LARGEST_SOURCE_NUMBER = 2_000_000  # times 1000 still fits DICOM's integer strings


class ResultHeader:
    """Heads of the files that tell the findings of one series.

    Args:
        document: the content of ``lesions.json``.
        source: the CT.
        identity: UIDs are taken from it.
    """

    def __init__(self, document: Mapping[str, Any], source: SourceSeries, identity: FindingsIdentity) -> None:
        self.identity = identity
        self._source = source.headers[0]
        self._created = _local_time(document["created"], self._source)

    def arguments(self, form: str, instance: int = 1) -> dict[str, Any]:
        """Keyword arguments of highdicom's constructors for instance number ``instance`` of ``form``."""
        return {
            "series_instance_uid": self.identity.uid(form, "series"),
            "series_number": self._series_number() * 1000 + SERIES_OFFSETS[form],
            "series_description": SERIES_NAMES[form],
            "sop_instance_uid": self.identity.uid(form, "instance", instance),
            "instance_number": instance,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": f"{self.identity.software} {self.identity.network}"[:64],
            "software_versions": self.identity.version,
            "device_serial_number": self.identity.weights_sha256,
        }

    def complete(self, dataset: Dataset) -> Dataset:
        """Fill in ``dataset`` what the result inherits from the CT, and when it was made; returns it.

        Patient and study are copied byte for byte under the character set they were written in, so that no name is
        recoded; all text of our own is ASCII, which every character set of DICOM contains.
        """
        for keyword in ("SpecificCharacterSet", "TimezoneOffsetFromUTC"):
            if keyword in self._source:
                setattr(dataset, keyword, deepcopy(self._source[keyword].value))
            elif keyword in dataset:
                delattr(dataset, keyword)
        for keyword in _PATIENT_AND_STUDY:
            _copy_bytes(self._source, dataset, keyword)
        for keyword in _SEQUENCES:
            if keyword in self._source:
                setattr(dataset, keyword, deepcopy(self._source[keyword].value))
        for keyword in _TYPE_2:
            if keyword not in dataset:
                setattr(dataset, keyword, None)
        self._tell_body_part(dataset)
        for keyword in _DATES:
            if keyword in dataset or keyword == "SeriesDate":
                setattr(dataset, keyword, self._created.strftime("%Y%m%d"))
                setattr(dataset, keyword.replace("Date", "Time"), self._created.strftime("%H%M%S"))
        for equipment in dataset.get("ContributingEquipmentSequence") or ():
            equipment.ContributionDateTime = self._created.strftime("%Y%m%d%H%M%S%z")
        correct_ambiguous_vr(dataset, is_little_endian=True)
        # Tells pydicom that what was copied is encoded as it will be written: it then passes the bytes through.
        dataset.set_original_encoding(False, True, convert_encodings(dataset.get("SpecificCharacterSet", "")))
        return dataset

    def _tell_body_part(self, dataset: Dataset) -> None:
        """Body part of the images, and the laterality that it asks for (type 2C: empty when nobody knows)."""
        if dataset.Modality == "SR":
            return
        _copy_bytes(self._source, dataset, "BodyPartExamined")
        if dataset.Modality != "SEG" and self._source.get("BodyPartExamined") not in _UNPAIRED_PARTS.split():
            dataset.Laterality = self._source.get("Laterality")

    def _series_number(self) -> int:
        try:
            number = int(self._source.get("SeriesNumber") or 0)
        except (TypeError, ValueError):
            return 0
        return number if 0 <= number <= _LARGEST_SOURCE_NUMBER else 0


def _copy_bytes(source: Dataset, target: Dataset, keyword: str) -> None:
    """Copy a text attribute as it was read; one that the source lacks is taken out of the target."""
    tag = Tag(keyword)
    if tag not in source:
        if tag in target:
            del target[tag]
        return
    element = source.get_item(tag)
    if isinstance(element, RawDataElement):
        # implicit VR leaves it unsaid, and a VR of old (UN) must not travel on
        element = element._replace(VR=dictionary_VR(tag), is_implicit_VR=False, is_little_endian=True)
        target[tag] = element
    else:
        target[tag] = deepcopy(element)


def _local_time(created: str, source: Dataset) -> datetime:
    """The moment ``created`` (UTC) on the clock that the dates of a DICOM file are told by.

    That is the zone the CT names, else the one of this machine, as for any DICOM device (PS3.3 C.12.1.1.8).
    """
    moment = datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    offset = str(source.get("TimezoneOffsetFromUTC") or "")
    if len(offset) == 5 and offset[0] in "+-" and offset[1:].isdigit():
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        if minutes < 24 * 60:
            return moment.astimezone(timezone(timedelta(minutes=minutes if offset[0] == "+" else -minutes)))
    return moment.astimezone()


def reference_header(source: SourceSeries, header: Dataset) -> Dataset:
    """A clean copy of what highdicom reads from a CT image, with patient and study left blank.

    Whatever a scanner wrote amiss there must neither stop nor change the findings; ``ResultHeader.complete`` copies
    the real patient and study afterwards.
    """
    clean = Dataset()
    for keyword in _GEOMETRY:
        if header.get(keyword) is not None:
            clean[keyword] = header[keyword]
    for keyword in _TYPE_2:
        setattr(clean, keyword, None)
    clean.PatientName = ""
    clean.Modality = "CT"
    clean.SamplesPerPixel = 1
    clean.PositionReferenceIndicator = header.get("PositionReferenceIndicator")
    if not source.is_multi_frame:
        clean.RescaleSlope = header.get("RescaleSlope", 1)
        clean.RescaleIntercept = header.get("RescaleIntercept", 0)
        clean.RescaleType = header.get("RescaleType") or "HU"
    return clean
