"""The boxes as a grayscale softcopy presentation state, drawn by the viewer on the CT's own images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from lesion_app.clinical.axial_places import AxialPlace
from lesion_app.clinical.lesion_boxes import LesionBoxes
from lesion_app.clinical.result_header import ResultHeader, reference_header
from lesion_app.clinical.source_series import SlicePlane, SourceSeries
from lesion_app.visualize.ct_window import SOFT_TISSUE

_LAYER = "LESIONS"
_TEXT_WIDTH, _TEXT_HEIGHT = 0.16, 0.035  # of the image
# PREDICTED's light blue, #4FC3FF, in CIELab
_COLOR = hd.color.CIELabColor(74.6, -18.4, -40.7)


def presentation_state(
    lesions: Sequence[LesionBoxes], source: SourceSeries, places: Sequence[AxialPlace | None], header: ResultHeader
) -> Dataset:
    """One presentation state over all slices that lesions touch: box, number and score on each of them.

    Boxes are in px of the image they lie on (PIXEL units: 0\\0 is the top left corner of the first pixel, so that
    half-open px need no change). The display window is the first that each image names, else soft tissue.

    Args:
        lesions: at least one.
        source, places, header: as for ``structured_report``; places for every slice of every lesion.
    """
    touched: dict[int, AxialPlace] = {}
    for z in sorted({z for lesion in lesions for z in lesion.boxes}):
        place = places[z]
        assert place is not None
        touched[z] = place
    references = {
        uid: reference_header(source, one)
        for one in source.headers
        if (uid := str(one.SOPInstanceUID)) in {place.plane.instance_uid for place in touched.values()}
    }
    layer = hd.pr.GraphicLayer(_LAYER, order=1, description="Detected lesions, unverified", display_color=_COLOR)
    annotations = [
        _annotation(
            [(lesion, place.boxes_to_image(lesion.boxes[z])[0]) for lesion in lesions if z in lesion.boxes],
            place.plane,
            references[place.plane.instance_uid],
            layer,
            header,
        )
        for z, place in touched.items()
    ]
    state = hd.pr.GrayscaleSoftcopyPresentationState(
        referenced_images=list(references.values()),
        content_label=_LAYER,
        content_description="Boxes and scores of detected lesions",
        graphic_layers=[layer],
        graphic_annotations=annotations,
        voi_lut_transformations=_windows([place.plane for place in touched.values()], references),
        concept_name=None,
        **header.arguments("gsps"),
    )
    return header.complete(state)


def _annotation(
    boxes: Sequence[tuple[LesionBoxes, np.ndarray]],
    plane: SlicePlane,
    reference: Dataset,
    layer: hd.pr.GraphicLayer,
    header: ResultHeader,
) -> hd.pr.GraphicAnnotation:
    graphics, texts = [], []
    for lesion, (x1, y1, x2, y2) in boxes:
        tracking_uid = header.identity.tracking_uid(lesion.number)
        graphics.append(
            hd.pr.GraphicObject(
                hd.pr.GraphicTypeValues.POLYLINE,
                np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]),
                units=hd.pr.AnnotationUnitsValues.PIXEL,
                tracking_id=lesion.name,
                tracking_uid=tracking_uid,
            )
        )
        texts.append(
            hd.pr.TextObject(
                f"{lesion.number}: {lesion.score:.2f}",
                units=hd.pr.AnnotationUnitsValues.PIXEL,
                bounding_box=_text_place((x1, y1, x2, y2), plane.size),
                text_justification=hd.pr.TextJustificationValues.LEFT,
                tracking_id=lesion.name,
                tracking_uid=tracking_uid,
            )
        )
    return hd.pr.GraphicAnnotation(
        referenced_images=[reference],
        referenced_frame_number=plane.frame,
        graphic_layer=layer,
        graphic_objects=graphics,
        text_objects=texts,
    )


def _text_place(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Where the text of a box goes: above it, below it where there is no room, always inside the image."""
    width, height = _TEXT_WIDTH * size[0], _TEXT_HEIGHT * size[1]
    left = min(max(box[0], 0.0), size[0] - width)
    top = box[1] - height if box[1] >= height else min(box[3], size[1] - height)
    return left, top, left + width, top + height


def _windows(planes: Sequence[SlicePlane], references: dict[str, Dataset]) -> list[hd.pr.SoftcopyVOILUTTransformation]:
    shown: defaultdict[tuple[float, float], list[SlicePlane]] = defaultdict(list)
    for plane in planes:
        shown[plane.window or (SOFT_TISSUE.center, SOFT_TISSUE.width)].append(plane)
    transformations = []
    for (center, width), members in shown.items():
        frames = [plane.frame for plane in members if plane.frame is not None]
        images = {plane.instance_uid: references[plane.instance_uid] for plane in members}
        transformations.append(
            hd.pr.SoftcopyVOILUTTransformation(
                window_center=center,
                window_width=width,
                referenced_images=hd.ReferencedImageSequence(
                    list(images.values()), referenced_frame_number=frames or None
                ),
            )
        )
    return transformations
