"""Read one CT series from a folder of DICOM files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from lesion_app.errors import InputError
from transforms.ct_source import AIR_HU, CTSource, decoding, to_hounsfield
from transforms.dicom_grid import Slice, series_grid, slice_of
from transforms.geometry import VolumeGeometry

MULTI_FRAME = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
NOT_A_SLICE = ("LOCALIZER", "SCREEN SAVE")
HU_TYPES = ("", "HU", "US")  # "US" is DICOM's "unspecified", written by scanners for plain HU
CT_SLICE = "CT slice"


def is_dicom(path: Path) -> bool:
    """Whether the file has the preamble of DICOM part 10."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def open_dicom(path: Path, run: tuple[int, int] | None) -> CTSource:
    """Open the CT series in a folder, or the series that a file belongs to (within its folder).

    Localizers, screen captures, reports and other modalities are passed over. Of several CT series
    the one with the most slices is taken, which ``notes`` tells. Positions come from
    ImagePositionPatient, never from file names or SliceThickness (but for a single slice).

    Raises:
        InputError: no CT slice, or one whose slices do not form one uniform grid (see `series_grid`).
    """
    folder = path if path.is_dir() else path.parent
    kinds: Counter[str] = Counter()
    series: defaultdict[str, list[Slice]] = defaultdict(list)
    chosen = _chosen_uid(path) if path.is_file() else None
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        kind, header = _inspect(file)
        kinds[kind] += 1
        if kind == CT_SLICE and header is not None:
            uid = str(header.get("SeriesInstanceUID", ""))
            if chosen in (None, uid):
                series[uid].append(slice_of(file, header))
    if not series:
        raise InputError(f"no CT slice was found in folder {folder.name} but {_listed(kinds)}; {_expected(kinds)}")
    uid = max(series, key=lambda key: (len(series[key]), key))
    notes = []
    if len(series) > 1:
        counts = sorted((len(slices) for slices in series.values()), reverse=True)
        notes.append(f"{len(counts)} CT series of {counts} slices were found; the one with the most was taken")
    if kinds[CT_SLICE] < kinds.total():
        del kinds[CT_SLICE]
        notes.append(f"passed over: {_listed(kinds)}")
    files, shape, affine, grid_notes = series_grid(series[uid])
    geometry = VolumeGeometry.from_file_grid(shape, affine, run)
    return CTSource(geometry, "dicom", DicomPlanes(files, shape[:2]), uid, notes + grid_notes)


@dataclass(frozen=True)
class DicomPlanes:
    """Decodes planes [column, row] of sorted single-frame files, each with its own rescale."""

    files: list[Path]
    size: tuple[int, int]

    def __call__(self, ks: Sequence[int]) -> Iterator[np.ndarray]:
        for k in ks:
            file = self.files[k]
            with decoding(file.name, "a DICOM CT slice"):
                dataset = pydicom.dcmread(file)
                stored = _decoded(dataset, file.name)
                if stored.shape != self.size[::-1]:
                    raise ValueError("the pixel data are not one frame of Rows x Columns")
                hu = stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
                padding = _padding(dataset, stored)
            hu[padding] = AIR_HU
            yield to_hounsfield(hu).T


def _decoded(dataset: Dataset, name: str) -> np.ndarray:
    try:
        return dataset.pixel_array
    except NotImplementedError as error:  # pydicom's word for a transfer syntax that no decoder knows
        raise InputError(
            f"slice {name} is compressed as {dataset.file_meta.TransferSyntaxUID.name}, which cannot be decoded; "
            "expected a current DICOM compression or none, so export the series uncompressed"
        ) from error


def _padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """Mask of the pixels outside the scan: PixelPaddingValue, up to PixelPaddingRangeLimit if given."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return (stored >= low) & (stored <= high)


def _inspect(file: Path) -> tuple[str, Dataset | None]:
    """Say in words what a file is, and give the header where it is a CT slice."""
    try:
        if not is_dicom(file):
            return "file that is not DICOM", None
        header = pydicom.dcmread(file, stop_before_pixels=True)
        sop_class, modality = header.get("SOPClassUID"), str(header.get("Modality") or "other DICOM")
        image_type = [str(part).upper() for part in header.get("ImageType") or ()]
        grey = header.get("SamplesPerPixel") == 1 and header.get("PhotometricInterpretation") == "MONOCHROME2"
        pixels = all(header.get(key) for key in ("Rows", "Columns", "BitsAllocated"))
    except Exception:  # a damaged header raises anything; the file is then no slice of the series
        return "damaged DICOM file", None
    if modality == "CT" and sop_class in MULTI_FRAME:
        return "multi-frame CT", None
    if modality != "CT" or sop_class != CTImageStorage:
        return f"{modality} object" if modality != "CT" else "CT object other than an image slice", None
    if any(word in part for word in NOT_A_SLICE for part in image_type):
        return "CT localizer or screen capture", None
    if not (grey and pixels):
        return "CT object without grey pixels", None
    if str(header.get("RescaleType") or "").upper() not in HU_TYPES:
        return "CT image in units other than HU", None
    return CT_SLICE, header


def _chosen_uid(path: Path) -> str:
    kind, header = _inspect(path)
    if header is None:
        raise InputError(f"{path.name} was found to be no CT slice but: {kind}; {_expected(Counter([kind]))}")
    return str(header.get("SeriesInstanceUID", ""))


def _listed(kinds: Counter[str]) -> str:
    return ", ".join(f"{kind} ({number})" for kind, number in kinds.most_common()) or "no file at all"


def _expected(kinds: Counter[str]) -> str:
    if kinds["multi-frame CT"]:
        return "expected one file a slice, so convert the multi-frame (enhanced) object to classic CT images or NIfTI"
    return "expected the files of one CT series, so give the folder that holds them"
