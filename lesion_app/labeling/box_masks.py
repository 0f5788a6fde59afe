"""Boxes as voxel masks, for viewers that show no boxes, and masks as boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lesion_app.boxes.tracklet import Box3D
from lesion_app.data.mask_lesions import lesions_of_mask
from lesion_app.data.patient_boxes import boxes_from_lps
from lesion_app.data.record import UNKNOWN_TYPE
from lesion_app.errors import InputError
from lesion_app.labeling.roi_markups import LESION, LesionRoi
from transforms.geometry import VolumeGeometry


def paint_ellipsoids(rois: Sequence[LesionRoi], geometry: VolumeGeometry, values: Sequence[int]) -> np.ndarray:
    """A label volume with each box's inscribed ellipsoid; of two that overlap the better-scored one is seen.

    Args:
        rois: boxes in LPS mm.
        geometry: of the CT.
        values: label of each box, 1..255.

    Returns:
        uint8 [Z, H, W] on the network grid. A box between voxel centres still colours the voxel it lies in.
    """
    volume = np.zeros(geometry.shape_zyx, np.uint8)
    boxes = boxes_from_lps([roi.box for roi in rois], geometry)
    scores = [1.0 if roi.score is None else roi.score for roi in rois]
    order = sorted(range(len(rois)), key=scores.__getitem__)
    limit = np.array(geometry.shape_zyx[::-1])
    for index in order:
        low, high = boxes[index, :3], boxes[index, 3:]
        start = np.clip(np.floor(low).astype(int), 0, limit)
        stop = np.clip(np.ceil(high).astype(int), 0, limit)
        if (stop <= start).any():
            continue
        centre, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-6)
        x, y, z = (((np.arange(start[axis], stop[axis]) + 0.5 - centre[axis]) / half[axis]) ** 2 for axis in range(3))
        inside = z[:, None, None] + y[None, :, None] + x[None, None, :] <= 1.0
        if not inside.any():
            inside[tuple(np.clip(np.floor(centre).astype(int) - start, 0, stop - start - 1)[::-1])] = True
        window = volume[start[2] : stop[2], start[1] : stop[1], start[0] : stop[0]]
        window[inside] = values[index]
    return volume


def write_mask(path: Path, volume: np.ndarray, geometry: VolumeGeometry) -> Path:
    """Write a label volume [Z, H, W] of the network grid in its CT's own axes: viewers lay it on voxel by voxel.

    Args:
        path: NIfTI, NRRD or MHA, by its suffix.

    Raises:
        InputError: the file cannot be written, or is of another type.
    """
    import itk

    # ITK's arrays are [k, j, i] of the file's own axes
    network_axes = [geometry.file_axes.index(axis) for axis in (2, 1, 0)]
    grid = volume.transpose([2 - axis for axis in network_axes])
    grid = grid[tuple(slice(None, None, -1 if geometry.flipped[axis] else 1) for axis in network_axes)]
    affine = geometry.affine_lps @ np.linalg.inv(geometry.network_to_file)
    image = itk.image_from_array(np.ascontiguousarray(grid))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing([float(value) for value in spacing])
    image.SetOrigin([float(value) for value in affine[:3, 3]])
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(affine[:3, :3] / spacing)))
    try:
        itk.imwrite(image, str(path), compression=True)
    except RuntimeError as error:
        raise InputError(f"{Path(path).name} cannot be written; name a .nii.gz, .nrrd or .mha file") from error
    return Path(path)


def read_mask_rois(path: Path, geometry: VolumeGeometry) -> list[LesionRoi]:
    """Boxes in LPS mm around every connected part of a mask drawn on the CT of ``geometry``.

    Raises:
        InputError: the file cannot be read or is not on the CT's grid.
    """
    mask = read_mask(path, geometry)
    values = [int(value) for value in np.unique(mask) if value]
    found = lesions_of_mask(mask, values, UNKNOWN_TYPE)
    extents = geometry.boxes_to_lps([lesion.extent for lesion in found])
    rois = []
    for edges in extents.tolist():
        box: Box3D = (edges[0], edges[1], edges[2], edges[3], edges[4], edges[5])
        rois.append(LesionRoi(box, LESION))
    return rois


def read_mask(path: Path, geometry: VolumeGeometry) -> np.ndarray:
    """A mask file [Z, H, W] int64 laid on the network grid of ``geometry`` by its place in the patient.

    Voxels outside the mask file are 0, as a DICOM segmentation holds the slices with segments only.

    Raises:
        InputError: unreadable, or a grid that does not fall on the CT's voxels.
    """
    import itk

    try:
        image = itk.imread(str(path))
    except RuntimeError as error:
        raise InputError(f"the mask {Path(path).name} cannot be read; save the segmentation anew") from error
    values = np.asarray(itk.array_from_image(image))
    if values.ndim == 4 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 3:
        raise InputError(f"the mask {Path(path).name} is no three-dimensional volume; save one label volume")
    spacing = np.array(image.GetSpacing(), dtype=np.float64)[:3]
    direction = np.asarray(itk.array_from_matrix(image.GetDirection()), dtype=np.float64)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    affine[:3, 3] = np.array(image.GetOrigin(), dtype=np.float64)[:3]
    mask = np.zeros(geometry.shape_zyx, np.int64)
    places = np.argwhere(values)
    if not len(places):
        return mask
    lps = places[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    inverse = np.linalg.inv(geometry.affine_lps)
    indices = lps @ inverse[:3, :3].T + inverse[:3, 3]
    voxels = np.rint(indices).astype(int)
    inside = ((voxels >= 0) & (voxels < np.array(geometry.shape_zyx[::-1]))).all(axis=1)
    if np.abs(indices - voxels).max() > 0.25 or not inside.all():
        raise InputError(
            f"the mask {Path(path).name} does not lie on the voxels of its CT; expected one drawn on that very image"
        )
    x, y, z = voxels.T
    mask[z, y, x] = values[tuple(places.T)]
    return mask
