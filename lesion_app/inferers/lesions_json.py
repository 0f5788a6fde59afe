"""The result file: what was found in one CT, by which model, in voxels of the file and in patient millimetres.

Layout and units are documented in ``bundle/docs/lesions_json.md`` and fixed by ``lesions.schema.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import jsonschema_rs
import numpy as np
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from lesion_app import __version__
from lesion_app.atomic_file import replacing
from lesion_app.boxes.expert_tracklet import ExpertTracklet
from lesion_app.boxes.tracklet import Tracklet
from lesion_app.errors import InputError

SCHEMA_VERSION = "1.0"
SOURCE_KINDS = ("dicom", "nifti", "nrrd", "mha", "png")

_CONVENTIONS = (
    "Boxes are half-open: voxel k covers [k, k+1), so a box spans x2-x1 voxels; indices are 0-based. grid is the "
    "axial grid the lesions were found on; slices[].box and axial_slice are its x, y and z. affine_lps maps its "
    "voxel-centre indices (x, y, z, 1) to LPS mm. box_voxel is on the input file's own voxel grid and axis order."
)
_MM_DIGITS, _SCORE_DIGITS, _AFFINE_DIGITS = 3, 6, 9


class Geometry(Protocol):
    """Where the volume's axial grid lies; ``transforms.geometry.VolumeGeometry`` is one.

    ``affine_lps`` [4, 4] maps voxel-centre indices (x, y, z) to LPS mm; the two maps take half-open boxes [N, 6]
    (x1, y1, z1, x2, y2, z2) of the axial grid and return [N, 6] likewise.
    """

    @property
    def shape_zyx(self) -> tuple[int, int, int]: ...

    @property
    def spacing_mm(self) -> tuple[float, float, float]: ...

    @property
    def affine_lps(self) -> np.ndarray: ...

    @property
    def first_slice_number(self) -> int: ...

    def boxes_to_lps(self, boxes3d: np.ndarray) -> np.ndarray: ...

    def boxes_to_file_grid(self, boxes3d: np.ndarray) -> np.ndarray: ...


def file_identity(path: str | Path) -> dict[str, str]:
    """``{"file": name without folders, "sha256": of its bytes}``.

    Raises:
        InputError: when the file cannot be read.
    """
    return {"file": Path(path).name, "sha256": sha256_of(path)}


def model_identity(network: str, weights: str | Path) -> dict[str, str]:
    """``{"network", "file", "sha256"}`` of a network's name and its file of weights; InputError as above."""
    return {"network": network, **file_identity(weights)}


def config_identity(paths: Sequence[str | Path]) -> dict[str, list[dict[str, str]]]:
    """``{"files": [{"file", "sha256"}]}`` of the config files, in the order they were merged; InputError as above."""
    return {"files": [file_identity(path) for path in paths]}


def source_identity(kind: str, name: str | Path | None = None, series_uid: str | None = None) -> dict[str, str]:
    """Which CT was read, told without naming the patient.

    A DICOM series is known by its Series Instance UID alone, because export folders are often named after the
    patient; every other kind by its file or folder name alone, without the path.

    Args:
        kind: "dicom", "nifti", "nrrd", "mha" (or "metaimage", the same) or "png".
        name: file or folder; left out for DICOM.
        series_uid: left out for every other kind.

    Raises:
        ValueError: for another kind, or when the one that identifies it is missing.
    """
    kind = {"metaimage": "mha"}.get(kind, kind)
    if kind not in SOURCE_KINDS:
        raise ValueError(f"source kind must be one of {', '.join(SOURCE_KINDS)}, got {kind!r}")
    key, value = ("series_uid", series_uid) if kind == "dicom" else ("name", name and Path(name).name)
    if not value:
        raise ValueError(f"a {kind} source is identified by its {key}, got none")
    return {"kind": kind, key: str(value)}


def lesions_document(
    lesions: Sequence[Tracklet],
    geometry: Geometry,
    *,
    model: Mapping[str, Any],
    config: Mapping[str, Any],
    source: Mapping[str, Any],
    score_threshold: float,
    created: datetime | None = None,
    experts: Mapping[str, Sequence[Tracklet]] | None = None,
) -> dict[str, Any]:
    """Describe the lesions of one CT as a JSON-ready dict, numbered from 1 by descending score.

    Millimetres and pixels are rounded to 3 digits, scores to 6.

    Args:
        lesions: on the axial grid of ``geometry``: slices are its z indices, boxes its px (not resampled ones).
            Equal scores keep their order.
        geometry: maps the axial grid to the file's own grid and to LPS mm.
        model: as ``model_identity`` makes it.
        config: as ``config_identity`` makes it.
        source: ``kind``, ``name`` and ``series_uid``, the arguments of ``source_identity``.
        score_threshold: score below which lesions were left out.
        created: time of creation, with time zone; written as UTC to the second. None = now.
        experts: what each data set's expert of a network found by itself, by name; written under ``experts``. A lesion
            with an ``expert`` (an ``ExpertTracklet``) is written with that name.

    Returns:
        The document; it satisfies ``lesions.schema.json``.

    Raises:
        ValueError: when a lesion lies on a slice the grid does not have, ``source`` is incomplete, or ``created``
            has no time zone.
    """
    created = created or datetime.now(timezone.utc)
    if created.tzinfo is None:
        raise ValueError("the creation time needs a time zone, got a naive datetime")
    depth, height, width = (int(n) for n in geometry.shape_zyx)
    document = {
        "schema_version": SCHEMA_VERSION,
        "created": created.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "software": {"name": "lesion-app", "version": __version__},
        "model": dict(model),
        "config": dict(config),
        "source": source_identity(**source),
        "grid": {
            "size_xyz": [width, height, depth],
            "spacing_mm": _rounded(geometry.spacing_mm, _SCORE_DIGITS),
            "affine_lps": [_rounded(row, _AFFINE_DIGITS) for row in np.asarray(geometry.affine_lps)],
            "coordinate_system": "LPS",
            "first_slice_number": int(geometry.first_slice_number),
            "conventions": _CONVENTIONS,
        },
        "score_threshold": _rounded([score_threshold], _SCORE_DIGITS)[0],
        "lesions": _lesion_list(lesions, geometry),
    }
    if experts is not None:
        document["experts"] = [
            {"name": name, "lesions": _lesion_list(found, geometry)} for name, found in experts.items()
        ]
    return document


def _lesion_list(lesions: Sequence[Tracklet], geometry: Geometry) -> list[dict[str, Any]]:
    """Entries of lesions by falling score; ValueError as ``lesions_document``."""
    depth = int(geometry.shape_zyx[0])
    outside = [z for lesion in lesions for z in lesion.slices if not 0 <= z < depth]
    if outside:
        raise ValueError(f"slice {outside[0]} of a lesion lies outside the grid's 0..{depth - 1}")
    ordered = sorted(lesions, key=lambda lesion: -lesion.score)
    extents = np.array([lesion.extent for lesion in ordered], dtype=np.float64).reshape(-1, 6)
    in_file = np.asarray(geometry.boxes_to_file_grid(extents), dtype=np.float64).reshape(-1, 6)
    in_lps = np.asarray(geometry.boxes_to_lps(extents), dtype=np.float64).reshape(-1, 6)
    sizes = (extents[:, 3:] - extents[:, :3]) * np.asarray(geometry.spacing_mm, dtype=np.float64)
    return [
        {
            "id": index + 1,
            "label": lesion.label,
            **({"expert": lesion.expert} if isinstance(lesion, ExpertTracklet) else {}),
            "score": _rounded([lesion.score], _SCORE_DIGITS)[0],
            "box_voxel": _rounded(in_file[index], _MM_DIGITS),
            "box_lps_mm": _rounded(in_lps[index], _MM_DIGITS),
            "centre_lps_mm": _rounded((in_lps[index, :3] + in_lps[index, 3:]) / 2, _MM_DIGITS),
            "size_mm": _rounded(sizes[index], _MM_DIGITS),
            "key_slice": lesion.key_slice,
            "slices": [
                {
                    "axial_slice": z,
                    "slice_number": z + int(geometry.first_slice_number),
                    "box": _rounded(box, _MM_DIGITS),
                    "score": _rounded([score], _SCORE_DIGITS)[0],
                }
                for z, box, score in zip(lesion.slices, lesion.boxes, lesion.scores)
            ],
        }
        for index, lesion in enumerate(ordered)
    ]


def write_lesions_json(document: dict[str, Any], path: Path) -> Path:
    """Write ``document`` to ``path`` atomically and return the path; its folder is made.

    Raises:
        ValueError: when the document does not satisfy the schema; nothing is written.
        InputError: when the place cannot be written to.
    """
    path = Path(path)
    fault = _fault(document)
    if fault:
        raise ValueError(f"the lesion document does not satisfy its schema: {fault}")
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"result file {path.name} cannot be written to {path.parent}: {error.strerror}; choose a folder you may "
            "write to"
        ) from error
    return path


def read_lesions_json(path: Path) -> dict[str, Any]:
    """Read a result file and check it against the schema.

    Raises:
        InputError: when it cannot be read, is not JSON or not a result file of this schema version.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise InputError(
            f"result file {path.name} cannot be read: {error.strerror}; give the lesions.json of a detection run"
        ) from error
    except ValueError as error:
        raise InputError(
            f"result file {path.name} is not valid JSON; expected the lesions.json of a detection run, so run the "
            "detection again or give another file"
        ) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, str) and version != SCHEMA_VERSION:
        raise InputError(
            f"result file {path.name} has schema version {version[:20]!r}, this software reads {SCHEMA_VERSION}; run "
            "the detection again with this version or read the file with the one that wrote it"
        )
    fault = _fault(document)
    if fault:
        raise InputError(
            f"result file {path.name} does not satisfy the lesion schema: {fault}; run the detection again or mend "
            "that entry"
        )
    return document


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits.

    Raises:
        InputError: when the file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(
            f"file {Path(path).name} cannot be read: {error.strerror}; check that it exists and may be read"
        ) from error
    return digest.hexdigest()


@cache
def _schema() -> dict[str, Any]:
    return json.loads(files("lesion_app.inferers").joinpath("lesions.schema.json").read_text(encoding="utf-8"))


@cache
def _quick_validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(_schema())


def _fault(document: Any) -> str | None:
    """Where the document breaks the schema and what is expected there, without any value of it; None if nowhere."""
    # The compiled validator only says yes or no here, in milliseconds; which fault is told is best_match's choice.
    with suppress(ValueError):  # deeper nesting than it follows
        if _quick_validator().is_valid(document):
            return None
    error = best_match(Draft202012Validator(_schema()).iter_errors(document))
    if error is None:
        return None
    expected = json.dumps(error.validator_value) if not isinstance(error.validator_value, dict) else "another layout"
    return f"at {error.json_path} {error.validator!r} expects {expected}"


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _rounded(values: Sequence[float] | np.ndarray, digits: int) -> list[float]:
    # adding 0.0 turns -0.0 into 0.0
    return [round(float(value), digits) + 0.0 for value in values]
