"""Pictures of the key slices with boxes and scores, for viewers that draw no structured report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from lesion_app.clinical.axial_places import AxialPlace
from lesion_app.clinical.lesion_boxes import LesionBoxes
from lesion_app.clinical.result_header import ResultHeader, reference_header
from lesion_app.clinical.source_series import SourceSeries
from lesion_app.visualize.ct_window import Window, body_mask, choose_window
from lesion_app.visualize.page import POINTS_PER_INCH
from lesion_app.visualize.palette import PREDICTED, PREDICTED_ELSEWHERE
from lesion_app.visualize.tile import LABEL_POINTS, DrawnBox, draw_boxes, show_slice, write_side_letter

LONGER_SIDE_PX = 1024
LABEL_PX = 24
_CAPTION_PX = 64
_DPI = LABEL_PX / LABEL_POINTS * POINTS_PER_INCH
_DERIVED = Code("113131", "DCM", "Extraction")
_SOURCE_OF_IMAGE = Code("121322", "DCM", "Source image for image processing operation")


def key_images(
    document: Mapping[str, Any],
    lesions: Sequence[LesionBoxes],
    source: SourceSeries,
    places: Sequence[AxialPlace | None],
    header: ResultHeader,
) -> list[Dataset]:
    """One RGB secondary capture for each key slice and display window that its lesions ask for, best lesion first.

    A picture shows the slice as radiologists look at it (patient's right on the left side, front on top) with square
    pixels, the lesions it is for with number and score, and thinly the others that touch the slice. It names slice,
    window and software, never the patient.

    Args:
        document: the content of ``lesions.json``.
        lesions: its lesions.
        source, places, header: as for ``structured_report``.

    Raises:
        InputError: when a slice cannot be decoded.
    """
    grid = document["grid"]
    spacing = (float(grid["spacing_mm"][0]), float(grid["spacing_mm"][1]))
    made_by = f"{header.identity.software} {header.identity.version}"
    images: list[Dataset] = []
    for z in dict.fromkeys(lesion.key_slice for lesion in lesions):
        place = places[z]
        assert place is not None
        hu = place.pixels_to_axial(place.plane.hounsfield())
        body = body_mask(hu)
        by_window: defaultdict[Window, list[LesionBoxes]] = defaultdict(list)
        for lesion in (one for one in lesions if one.key_slice == z):
            by_window[choose_window(hu, np.array(lesion.key_box), body, spacing)].append(lesion)
        for window, told in by_window.items():
            others = [lesion for lesion in lesions if z in lesion.boxes and lesion not in told]
            caption = (
                f"{_slice_name(place)} of CT series {place.plane.header.get('SeriesNumber') or '-'}",
                f"{window.name} window   detections of {made_by}, unverified",
            )
            pixels, pixel_mm = draw_key_slice(hu, told, others, z, spacing, window, _side_letters(grid), caption)
            # By slice and window, not by rank: a picture keeps its name whatever else is found.
            uid = header.identity.uid("key_images", "slice", z, window.name)
            images.append(_capture(pixels, pixel_mm, len(images) + 1, uid, place, grid, source, header))
    return images


def draw_key_slice(
    hu: np.ndarray,
    lesions: Sequence[LesionBoxes],
    others: Sequence[LesionBoxes],
    z: int,
    spacing_mm: tuple[float, float],
    window: Window,
    letters: tuple[str, str],
    caption: Sequence[str],
) -> tuple[np.ndarray, float]:
    """Draw one axial slice.

    Args:
        hu: [H, W] HU of the axial slice.
        lesions: drawn with number and score.
        others: drawn thinly, with their number.
        z: the axial slice.
        spacing_mm: (x, y) mm per px.
        window: of HU.
        letters: at the left and the right edge.
        caption: lines below the picture, ASCII.

    Returns:
        RGB uint8 [rows, columns, 3] with 1024 px along the longer side of the slice, and mm per px.
    """
    height, width = hu.shape
    width_mm, height_mm = width * spacing_mm[0], height * spacing_mm[1]
    pixel_mm = max(width_mm, height_mm) / LONGER_SIDE_PX
    columns, rows = max(1, round(width_mm / pixel_mm)), max(1, round(height_mm / pixel_mm))
    canvas = columns, rows + _CAPTION_PX
    figure = Figure(figsize=(canvas[0] / _DPI, canvas[1] / _DPI), dpi=_DPI, facecolor="black")
    agg = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, _CAPTION_PX / canvas[1], 1, rows / canvas[1]))
    show_slice(axes, window.apply(hu), (0, 0, width, height), aspect="auto")  # type: ignore[arg-type]
    drawn = [DrawnBox(one.boxes[z], PREDICTED, f"{one.number}: {one.score:.2f}") for one in lesions]
    drawn += [DrawnBox(one.boxes[z], PREDICTED_ELSEWHERE, f"{one.number}") for one in others]
    draw_boxes(axes, drawn)
    for position, letter, align in ((0.01, letters[0], "left"), (0.99, letters[1], "right")):
        write_side_letter(axes, position, letter, align)
    for line, text in enumerate(caption):
        figure.text(
            12 / canvas[0],
            (_CAPTION_PX - 8 - line * 28) / canvas[1],
            text,
            color="#E5E7EB",
            fontsize=20 / _DPI * POINTS_PER_INCH,
            family="DejaVu Sans",
            va="top",
        )
    agg.draw()
    return np.asarray(agg.buffer_rgba())[: canvas[1], : canvas[0], :3].copy(), pixel_mm


def _capture(
    pixels: np.ndarray,
    pixel_mm: float,
    number: int,
    uid: str,
    place: AxialPlace,
    grid: Mapping[str, Any],
    source: SourceSeries,
    header: ResultHeader,
) -> Dataset:
    plane = place.plane
    arguments = header.arguments("key_images", number)
    arguments["sop_instance_uid"] = uid
    image = hd.sc.SCImage.from_ref_dataset(
        reference_header(source, plane.header),
        pixel_array=pixels,
        photometric_interpretation=hd.PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system=hd.CoordinateSystemNames.PATIENT,
        patient_orientation=_patient_orientation(grid),
        pixel_spacing=(round(pixel_mm, 6), round(pixel_mm, 6)),  # type: ignore[arg-type]
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **arguments,
    )
    image.ConversionType = "WSD"
    image.BurnedInAnnotation = "NO"
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in plane.header:  # once lossy, always lossy
            image[keyword] = plane.header[keyword]
    image.DerivationDescription = "Key slice with boxes and scores of detected lesions"
    image.DerivationCodeSequence = [hd.sr.CodedConcept(*_DERIVED[:3])]
    reference = Dataset()
    reference.ReferencedSOPClassUID = plane.sop_class_uid
    reference.ReferencedSOPInstanceUID = plane.instance_uid
    if plane.frames:
        reference.ReferencedFrameNumber = plane.frames
    reference.PurposeOfReferenceCodeSequence = [hd.sr.CodedConcept(*_SOURCE_OF_IMAGE[:3])]
    image.SourceImageSequence = [reference]
    return header.complete(image)


def _slice_name(place: AxialPlace) -> str:
    if place.plane.frame is not None:
        return f"frame {place.plane.frame}"
    return f"image {place.plane.header.get('InstanceNumber') or '-'}"


def _patient_orientation(grid: Mapping[str, Any]) -> tuple[str, str]:
    """Direction of rising columns and of rising rows, each as the nearest of the patient's six."""
    directions = np.asarray(grid["affine_lps"], dtype=np.float64)[:3, :2].T
    row, column = (
        ("RL", "AP", "FH")[int(np.abs(one).argmax())][int(one[np.abs(one).argmax()] > 0)] for one in directions
    )
    return row, column


def _side_letters(grid: Mapping[str, Any]) -> tuple[str, str]:
    towards = _patient_orientation(grid)[0]
    return {"L": "R", "R": "L", "A": "P", "P": "A", "F": "H", "H": "F"}[towards], towards
