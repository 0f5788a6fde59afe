"""Choose the CT series of a study in which lesions are looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lesion_app.clinical.series_rank import MIN_SLICES, SeriesTraits, traits_of
from lesion_app.errors import InputError
from transforms.dicom_grid import IncompleteSeries, SliceGrid
from transforms.dicom_kind import CT_SLICE
from transforms.dicom_study import DicomSeries, DicomStudy, read_study

MAX_TOLD = 4


@dataclass(frozen=True)
class RejectedSeries:
    """A series that was not chosen.

    Args:
        label: series number, modality and number of files; no patient data.
        reason: why, in one sentence.
    """

    label: str
    reason: str


@dataclass(frozen=True)
class SeriesChoice:
    """The series that was chosen.

    Args:
        series_uid: SeriesInstanceUID.
        files: each instance once, from the patient's feet to the head (a multi-frame file by its lowest frame).
        explanation: one line, why this one.
        rejected: all other series in the folder, with the reason.
    """

    series_uid: str
    files: tuple[Path, ...]
    explanation: str
    rejected: tuple[RejectedSeries, ...]


@dataclass(frozen=True, eq=False)
class _Candidate:
    series: DicomSeries
    traits: SeriesTraits

    @property
    def label(self) -> str:
        return _label(self.series)


def choose_series(folder: Path) -> SeriesChoice:
    """Choose the one CT series of a study folder that suits lesion detection best.

    The folder is searched with its sub-folders; file names play no part, files that are no DICOM are ignored, and only
    headers are read. CT series that are no axial slices (localizers, captures, reformats ...) are left out; the others
    are ranked (`SeriesTraits.merits`), and the best one that forms a regular grid is taken. One that ranks
    first but is damaged or incomplete is refused: a lesser series in its place would pass for the whole study.

    Args:
        folder: one study; the files of several series, in any order.

    Returns:
        the choice; the same for the same files, whatever they are called.

    Raises:
        InputError: no series fits, the best one is damaged or incomplete, or a file cannot be opened.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("the study's folder was not found; expected a folder with DICOM files, so check the path")
    try:
        study = read_study(sorted(path for path in folder.rglob("*") if path.is_file()))
    except OSError as error:
        name = Path(str(error.filename or "a file")).name
        raise InputError(
            f"{name} could not be opened ({error.strerror or type(error).__name__}); expected files that this user may "
            "read, so check permissions and the disk"
        ) from error
    study.require_no_lost_slice()
    candidates, rejected = _sifted(study)
    longest = max((one.traits.length_mm for one in candidates), default=0.0)
    candidates.sort(key=lambda one: ([-value for _, value in one.traits.merits(longest)], one.traits.uid))
    refused: list[tuple[_Candidate, InputError]] = []
    for place, candidate in enumerate(candidates):
        try:
            grid = candidate.series.grid()
        except IncompleteSeries as error:
            raise InputError(f"in {candidate.label}, which suits best, {error}") from error
        except InputError as error:
            refused.append((candidate, error))
            continue
        behind = candidates[place + 1 :]
        rejected += [RejectedSeries(one.label, str(reason)) for one, reason in refused]
        rejected += [RejectedSeries(one.label, f"ranked lower: {_lead(candidate, one, longest)}") for one in behind]
        return SeriesChoice(
            candidate.traits.uid,
            _files_upwards(grid),
            _explained(candidate, behind, refused, grid, longest),
            tuple(sorted(rejected, key=lambda one: (one.label, one.reason))),
        )
    if refused:
        best, reason = refused[0]
        raise InputError(f"in {best.label}, which suits best, {reason}") from reason
    raise InputError(_nothing_fits(rejected))


def _sifted(study: DicomStudy) -> tuple[list[_Candidate], list[RejectedSeries]]:
    """CT series that may be ranked, and the others with the reason."""
    candidates, rejected = [], []
    for series in study.series.values():
        if series.kind != CT_SLICE:
            rejected.append(RejectedSeries(_label(series), f"{series.files[0].name} is no CT slice: {series.kind}"))
            continue
        traits = traits_of(series)
        reason = traits.unfit()
        # Files that cannot be read are the better reason than that too few can.
        if reason is None or (series.faults and traits.slices < MIN_SLICES):
            candidates.append(_Candidate(series, traits))
        else:
            rejected.append(RejectedSeries(_label(series), f"{series.files[0].name} {reason}"))
    return candidates, rejected


def _label(series: DicomSeries) -> str:
    number, modality = series.header.get("SeriesNumber"), str(series.header.get("Modality") or "no modality")
    try:
        which = f"series {int(number)}"
    except (TypeError, ValueError):
        which = "series without number"
    return f"{which} ({modality[:16]}, {len(series.files)} file{'s' if len(series.files) > 1 else ''})"


def _lead(better: _Candidate, worse: _Candidate, longest: float) -> str:
    """The criterion by which the one stands before the other."""
    pairs = zip(better.traits.merits(longest), worse.traits.merits(longest))
    return next((name for (name, one), (_, other) in pairs if one != other), "order of SeriesInstanceUID")


def _explained(
    chosen: _Candidate,
    behind: Sequence[_Candidate],
    refused: Sequence[tuple[_Candidate, InputError]],
    grid: SliceGrid,
    longest: float,
) -> str:
    parts = [f"{chosen.label}: {chosen.traits.told()}"]
    if behind:
        parts.append(f"before {behind[0].label} by: {_lead(chosen, behind[0], longest)}")
    else:
        parts.append("the only CT series that fits")
    if refused:
        parts.append(
            f"{len(refused)} that ranked higher form no regular volume ({', '.join(c.label for c, _ in refused)})"
        )
    return "; ".join(parts + grid.notes)


def _files_upwards(grid: SliceGrid) -> tuple[Path, ...]:
    slices = grid.slices if grid.affine[2, 2] >= 0 else grid.slices[::-1]
    return tuple(dict.fromkeys(one.file for one in slices))


def _nothing_fits(rejected: Sequence[RejectedSeries]) -> str:
    expected = f"expected an axial CT series of {MIN_SLICES} slices or more, so give the folder that holds one"
    if not rejected:
        return f"no DICOM file was found in the study's folder; {expected}"
    more = f", and {len(rejected) - MAX_TOLD} more series were left out" if len(rejected) > MAX_TOLD else ""
    told = ", ".join(one.reason for one in rejected[:MAX_TOLD])
    return f"no CT series that lesions can be looked for in was found: {told}{more}; {expected}"
