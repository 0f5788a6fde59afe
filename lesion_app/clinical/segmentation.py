"""The lesions as DICOM Segmentation: one binary segment a lesion, on the CT's own images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from lesion_app.clinical.axial_places import AxialPlace
from lesion_app.clinical.identifiers import FindingsIdentity
from lesion_app.clinical.lesion_boxes import LesionBoxes
from lesion_app.clinical.result_header import ResultHeader, reference_header
from lesion_app.clinical.source_series import SourceSeries
from lesion_app.errors import InputError

MaskSlices = dict[int, np.ndarray]
"""Axial slice -> rectangle (x1, y1, x2, y2) [4] int, or bool mask [H, W], of one lesion."""


def segmentations(
    document: Mapping[str, Any],
    lesions: Sequence[LesionBoxes],
    source: SourceSeries,
    places: Sequence[AxialPlace | None],
    header: ResultHeader,
    masks: np.ndarray | None = None,
) -> list[Dataset]:
    """Write every lesion as a segment; a voxel belongs to a box when its centre does.

    Segments of one file never overlap, so that also readers that know label maps only show all of them: lesions whose
    voxels overlap go to the next file of the same series (rare after non-maximum suppression).

    Args:
        document: the content of ``lesions.json``.
        lesions: its lesions, at least one.
        source, places, header: as for ``structured_report``; places for every slice of every lesion.
        masks: int [D, H, W] on the axial grid, a voxel's value being the id of its lesion and 0 none; None = boxes.

    Raises:
        ValueError: masks of another shape, or without any voxel of some lesion.
        InputError: an enhanced CT that is spread over several multi-frame files.
    """
    if source.is_multi_frame and len(source.headers) > 1:
        raise InputError(
            f"the enhanced CT is spread over {len(source.headers)} multi-frame files, which a segmentation cannot "
            "refer to; expected one, so leave out the form seg or send the series as one object"
        )
    voxels = [_box_voxels(lesion) for lesion in lesions] if masks is None else _mask_voxels(masks, lesions, document)
    groups = _without_overlap(voxels) if masks is None else [list(range(len(lesions)))]
    kind = "boxes" if masks is None else "masks"
    return [
        _segmentation(
            [lesions[i] for i in group], [voxels[i] for i in group], document, source, places, header, number, kind
        )
        for number, group in enumerate(groups, start=1)
    ]


def _box_voxels(lesion: LesionBoxes) -> MaskSlices:
    """Voxels whose centres lie in the box: [floor(x1 + 0.5), floor(x2 + 0.5)), and one at least."""
    edges = np.floor(np.array(list(lesion.boxes.values())) + 0.5).astype(int)
    centres = np.floor([[(b[0] + b[2]) / 2, (b[1] + b[3]) / 2] for b in lesion.boxes.values()]).astype(int)
    empty = edges[:, 2:] <= edges[:, :2]
    low = np.where(empty, centres, edges[:, :2])
    high = np.where(empty, centres + 1, edges[:, 2:])
    return dict(zip(lesion.boxes, np.hstack([low, high])))


def _mask_voxels(masks: np.ndarray, lesions: Sequence[LesionBoxes], document: Mapping[str, Any]) -> list[MaskSlices]:
    width, height, depth = document["grid"]["size_xyz"]
    if masks.shape != (depth, height, width):
        raise ValueError(f"masks need the shape {(depth, height, width)} of the axial grid, got {masks.shape}")
    found = []
    for lesion in lesions:
        slices = np.flatnonzero((masks == lesion.number).any(axis=(1, 2)))
        if not slices.size:
            raise ValueError(f"masks have no voxel of lesion {lesion.number}")
        found.append({int(z): masks[z] == lesion.number for z in slices})
    return found


def _without_overlap(voxels: Sequence[MaskSlices]) -> list[list[int]]:
    """Indices of lesions, each lesion in the first group in which it overlaps no other."""
    groups: list[list[int]] = []
    for index, mine in enumerate(voxels):
        free = (group for group in groups if not any(_overlap(mine, voxels[other]) for other in group))
        group = next(free, None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    return groups


def _overlap(a: MaskSlices, b: MaskSlices) -> bool:
    return any(
        bool((np.maximum(a[z][:2], b[z][:2]) < np.minimum(a[z][2:], b[z][2:])).all()) for z in a.keys() & b.keys()
    )


def _segmentation(
    lesions: Sequence[LesionBoxes],
    voxels: Sequence[MaskSlices],
    document: Mapping[str, Any],
    source: SourceSeries,
    places: Sequence[AxialPlace | None],
    header: ResultHeader,
    number: int,
    kind: str,
) -> Dataset:
    width, height, _ = document["grid"]["size_xyz"]
    touched = {z: np.zeros((height, width), np.uint16) for z in sorted(set().union(*voxels))}
    for segment, slices in enumerate(voxels, start=1):
        for z, part in slices.items():
            if part.shape == (4,):
                touched[z][part[1] : part[3], part[0] : part[2]] = segment
            else:
                touched[z][part] = segment
    labels = {}
    for z, label in touched.items():
        place = places[z]
        assert place is not None
        labels[place.plane.instance_uid, place.plane.frame] = place.pixels_to_image(label)
    if source.is_multi_frame:
        images = [reference_header(source, source.headers[0])]
        empty = np.zeros(source.planes[0].size[::-1], np.uint16)
        by_number = sorted(source.planes, key=lambda plane: plane.frame or 0)
        frames = [labels.get((plane.instance_uid, plane.frame), empty) for plane in by_number]
    else:
        by_uid = {str(one.SOPInstanceUID): one for one in source.headers}
        images = [reference_header(source, by_uid[uid]) for uid, _ in labels]
        frames = list(labels.values())
    plane = source.planes[0]
    columns_mm, rows_mm = np.linalg.norm(plane.affine_lps[:3, :2], axis=0)
    spacing = float(document["grid"]["spacing_mm"][2])
    measures = hd.PixelMeasuresSequence(
        pixel_spacing=(rows_mm, columns_mm), slice_thickness=spacing, spacing_between_slices=spacing
    )
    arguments = header.arguments("seg", number)
    arguments["sop_instance_uid"] = header.identity.uid("seg", kind, number)
    segmentation = hd.seg.Segmentation(
        source_images=images,
        pixel_array=np.stack(frames),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _described(lesion, segment, header.identity) for segment, lesion in enumerate(lesions, start=1)
        ],
        pixel_measures=measures,
        content_label="LESIONS",
        content_description=f"Lesion {kind} found by {header.identity.software}",
        omit_empty_frames=True,
        **arguments,
    )
    # highdicom prefers the source's own measures, which may lack the slice spacing that readers rebuild volumes by
    segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = measures
    organization = header.identity.uid("seg", kind, number, "dimensions")
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    return header.complete(segmentation)


def _described(lesion: LesionBoxes, segment: int, identity: FindingsIdentity) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=segment,
        segment_label=f"{lesion.name}, score {lesion.score:.2f}",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=f"{identity.software} {identity.network}"[:64],
            family=codes.DCM.ArtificialIntelligence,
            version=identity.version,
            parameters={"weights SHA-256": identity.weights_sha256, "configuration SHA-256": identity.config_sha256},
        ),
        tracking_uid=identity.tracking_uid(lesion.number),
        tracking_id=lesion.name,
    )
