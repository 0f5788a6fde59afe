"""The findings of one CT as DICOM files that can be filed beside it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lesion_app.clinical.axial_places import AxialPlace, place_axial_slices
from lesion_app.clinical.identifiers import FindingsIdentity
from lesion_app.clinical.lesion_boxes import LesionBoxes, lesion_boxes
from lesion_app.clinical.source_series import SourceSeries, read_source_series
from lesion_app.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

FORMS = ("sr", "seg", "key_images", "gsps")


def write_findings(
    document: Mapping[str, Any],
    files: Sequence[Path],
    out: Path,
    *,
    forms: Sequence[str] = ("sr", "seg", "key_images"),
    masks: np.ndarray | None = None,
) -> list[Path]:
    """Write what ``document`` tells as DICOM files into ``out``, all of them or none.

    ``sr``: Comprehensive 3D SR, ``report.dcm``, also when nothing was found. ``seg``: one segment a lesion,
    ``segments_1.dcm``. ``key_images``: an RGB picture of every key slice, ``key_image_1.dcm`` ... ``gsps``:
    presentation state with the boxes on every touched slice, ``boxes.dcm``. Without lesions only the report is
    written. UIDs are derived from series, model and form, so that a second run makes the same ones; the same document
    makes the same bytes (``docs/dicom_out.md``).

    Args:
        document: the content of ``lesions.json``.
        files: the DICOM instances the lesions were found in, any order.
        out: new or empty folder.
        forms: some of ``FORMS``.
        masks: int [D, H, W] on the axial grid, a voxel's value being the id of its lesion and 0 none; the
            segmentation then holds them instead of boxes.

    Returns:
        the files, report first.

    Raises:
        InputError: files that are not the CT of the document or cannot be referred to, an unknown form, a folder that
            is not empty or cannot be written to, highdicom not installed. Nothing is written then.
        ValueError: masks that do not fit the document.
    """
    unknown = [form for form in forms if form not in FORMS]
    if unknown:
        raise InputError(f"there is no form '{unknown[0]}' of findings; expected some of {', '.join(FORMS)}")
    if find_spec("highdicom") is None:
        raise InputError("DICOM findings need the package highdicom; install it with: pip install 'lesion-app[deploy]'")
    out = Path(out)
    _check_folder(out)
    source = read_source_series(document, files)
    places = place_axial_slices(document["grid"], source.planes)
    lesions = lesion_boxes(document)
    bare = sorted({z for lesion in lesions for z in lesion.boxes if places[z] is None})
    if bare:
        raise InputError(
            f"{len(bare)} of the slices with lesions (first: axial slice {bare[0]}) are missing among the "
            f"{len(source.headers)} files of the CT; give all files of the series"
        )
    identity = FindingsIdentity.of(document, source.uid, (str(one.SOPInstanceUID) for one in source.headers))
    results = _results(document, lesions, source, places, identity, forms, masks)
    return _publish(results, out)


def _results(
    document: Mapping[str, Any],
    lesions: Sequence[LesionBoxes],
    source: SourceSeries,
    places: Sequence[AxialPlace | None],
    identity: FindingsIdentity,
    forms: Sequence[str],
    masks: np.ndarray | None,
) -> dict[str, Dataset]:
    """File name -> data set, for each wanted form."""
    from lesion_app.clinical.key_images import key_images
    from lesion_app.clinical.presentation_state import presentation_state
    from lesion_app.clinical.result_header import ResultHeader
    from lesion_app.clinical.segmentation import segmentations
    from lesion_app.clinical.structured_report import structured_report

    header = ResultHeader(document, source, identity)
    results: dict[str, Dataset] = {}
    if "sr" in forms:
        results["report.dcm"] = structured_report(document, lesions, source, places, header)
    if "seg" in forms and lesions:
        made = segmentations(document, lesions, source, places, header, masks)
        results.update({f"segments_{n}.dcm": one for n, one in enumerate(made, start=1)})
    if "key_images" in forms:
        pictures = key_images(document, lesions, source, places, header)
        results.update({f"key_image_{n}.dcm": one for n, one in enumerate(pictures, start=1)})
    if "gsps" in forms and lesions:
        results["boxes.dcm"] = presentation_state(lesions, source, places, header)
    return results


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the findings")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; name a new or an empty folder for the findings")


def _publish(results: Mapping[str, Dataset], out: Path) -> list[Path]:
    """Write all to a hidden sibling of ``out`` and give it that name, so that no half of them is ever seen."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            for name, dataset in results.items():
                dataset.save_as(stage / name, enforce_file_format=True)
            stage.chmod(out.stat().st_mode & 0o7777 if out.is_dir() else 0o777 & ~_umask())
            os.replace(stage, out)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"findings cannot be written to {out}: {error.strerror}; choose a folder you may write to"
        ) from error
    return [out / name for name in results]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
