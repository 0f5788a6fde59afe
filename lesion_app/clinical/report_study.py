"""From a folder of DICOM files to findings that can be filed beside them."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesion_app import __version__
from lesion_app.clinical.cuda_runtime import preload_cuda_runtime
from lesion_app.clinical.model_folder import find_model
from lesion_app.clinical.publishing import check_output, staged_results, write_manifest
from lesion_app.errors import InputError

if TYPE_CHECKING:
    # The module brings monai, and with it the Deploy SDK where that is installed: only after preload_cuda_runtime().
    from lesion_app.clinical.series import SeriesChoice

DEFAULT_FORMS = ("sr", "seg", "key_images")
DICOM_FOLDER = "dicom"


@dataclass(frozen=True)
class ReportSettings:
    """What a report is made with, apart from the study.

    Attributes:
        models: see :func:`lesion_app.clinical.model_folder.find_model`.
        configs: overlays on the bundle's ``inference.json``, names or files.
        forms: kinds of DICOM objects to write, see :func:`lesion_app.clinical.findings.write_findings`.
        min_score: lowest score reported, 0..1; None = the config's.
        device: torch device; None = the config's choice.
        sheet: draw ``lesions.png``.
        progress: show a bar with the time left.
    """

    models: Path | None = None
    configs: tuple[str | Path, ...] = ()
    forms: tuple[str, ...] = DEFAULT_FORMS
    min_score: float | None = None
    device: str | None = None
    sheet: bool = True
    progress: bool = False

    def check(self) -> None:
        """Raise InputError for what would otherwise fail after minutes: model, forms, score, a missing package."""
        preload_cuda_runtime()
        from lesion_app.clinical.findings import FORMS

        find_model(self.models)
        if find_spec("highdicom") is None:
            raise InputError("DICOM findings need highdicom, which is not installed; pip install 'lesion-app[deploy]'")
        unknown = [form for form in self.forms if form not in FORMS]
        if unknown or not self.forms:
            told = f"'{unknown[0]}'" if unknown else "nothing"
            raise InputError(f"the findings were asked for as {told}; expected some of {', '.join(FORMS)}")
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise InputError(f"the lowest score to report must lie in 0..1, got {self.min_score}")


@dataclass(frozen=True)
class StudyReport:
    """What was published.

    Attributes:
        out: the results folder.
        series: which series was looked at and why.
        document: what ``lesions.json`` holds.
        files: everything in ``out``, absolute, ``results.json`` first.
    """

    out: Path
    series: SeriesChoice
    document: dict[str, Any]
    files: tuple[Path, ...]


def report_study(
    folder: str | Path,
    out: str | Path,
    *,
    models: str | Path | None = None,
    configs: Sequence[str | Path] = (),
    forms: Sequence[str] = DEFAULT_FORMS,
    min_score: float | None = None,
    device: str | None = None,
    sheet: bool = True,
    progress: bool = False,
) -> StudyReport:
    """Choose the CT series of a study, find its lesions and publish the findings whole.

    ``out`` receives ``results.json`` (which series and why, which model, all files with their SHA-256),
    ``lesions.json``, ``lesions.png`` (unless ``sheet`` is off) and the DICOM objects in ``dicom/``. A study without
    findings gives the same files. A second run on the same series replaces the first one's results.

    Args:
        folder: a study's DICOM files, in any order, in sub-folders, among other files; only read.
        out: new or empty folder, or one with earlier results of the same series; not inside ``folder``.
        models, configs, forms, min_score, device, sheet, progress: see :class:`ReportSettings`.

    Raises:
        InputError: no usable series, model, config or output folder; ``out`` is as it was then.
    """
    settings = ReportSettings(
        models=None if models is None else Path(models),
        configs=tuple(configs),
        forms=tuple(forms),
        min_score=min_score,
        device=device,
        sheet=sheet,
        progress=progress,
    )
    folder, out = check_places(folder, out)
    settings.check()
    with staged_results(out) as stage:
        choice = select_series(folder, out)
        document = find_lesions(choice, stage, settings)
        add_findings(choice, document, stage, settings)
    return published_report(choice, document, out)


def check_places(folder: str | Path, out: str | Path) -> tuple[Path, Path]:
    """Both as absolute paths.

    Raises:
        InputError: the study is not there, or the results would land in it, where the next run would find them.
    """
    study, results = Path(folder).absolute(), Path(out).absolute()
    if not study.is_dir():
        raise InputError(f"{study} is not a folder; name the folder with the study's DICOM files")
    if results.resolve().is_relative_to(study.resolve()):
        raise InputError(f"the results folder {results} lies in the study's folder; name one outside of it")
    return study, results


def select_series(folder: Path, out: Path) -> SeriesChoice:
    """The study's series to look at; InputError when there is none, or ``out`` holds results of another one."""
    preload_cuda_runtime()
    from lesion_app.clinical.series import choose_series

    choice = choose_series(folder)
    check_output(out, choice.series_uid)
    return choice


def find_lesions(choice: SeriesChoice, stage: Path, settings: ReportSettings) -> dict[str, Any]:
    """Run the bundle's inference config on the chosen series: ``lesions.json`` and ``lesions.png`` in ``stage``.

    Returns:
        what ``lesions.json`` holds.

    Raises:
        InputError: as :func:`lesion_app.inferers.detect.detect`.
    """
    preload_cuda_runtime()
    from lesion_app.inferers.detect import detect

    model = find_model(settings.models)
    with _folder_of(choice.files) as series, _silent("lesion_app.inference"):
        document = detect(
            series,
            stage,
            configs=settings.configs,
            weights=model.weights,
            bundle=model.bundle,
            min_score=settings.min_score,
            device=settings.device,
            sheet=settings.sheet,
            progress=settings.progress,
        )
    read = document["source"].get("series_uid")
    if read != choice.series_uid:
        raise RuntimeError("the series that was read is not the one that was chosen")
    return document


def add_findings(choice: SeriesChoice, document: dict[str, Any], stage: Path, settings: ReportSettings) -> None:
    """Complete the results in ``stage``: the DICOM objects, then the manifest that names all files."""
    from lesion_app.clinical.findings import write_findings
    from lesion_app.inferers.lesion_masks import LESION_MASKS, read_lesion_masks

    # The bundle's logging configuration shows the INFO of all packages, and this one's names UIDs.
    logging.getLogger("highdicom").setLevel(logging.WARNING)
    outlines = stage / LESION_MASKS  # of a detector with masks, see the overlay lesion_masks
    masks = read_lesion_masks(outlines, document) if outlines.is_file() else None
    write_findings(document, choice.files, stage / DICOM_FOLDER, forms=settings.forms, masks=masks)
    write_manifest(
        stage,
        {
            "created": document["created"],
            "software": {"name": "lesion-app", "version": __version__},
            "model": document["model"],
            "config": document["config"],
            "series": {
                "uid": choice.series_uid,
                "number_of_files": len(choice.files),
                "chosen_because": choice.explanation,
                "rejected": [{"series": other.label, "reason": other.reason} for other in choice.rejected],
            },
            "score_threshold": document["score_threshold"],
            "number_of_lesions": len(document["lesions"]),
            "forms": list(settings.forms),
        },
    )


def published_report(choice: SeriesChoice, document: dict[str, Any], out: Path) -> StudyReport:
    """Describe the results that now lie in ``out``."""
    files = sorted((path for path in out.rglob("*") if path.is_file()), key=lambda path: (path.parent != out, path))
    files.sort(key=lambda path: path.name != "results.json")
    return StudyReport(out, choice, document, tuple(files))


@contextmanager
def _folder_of(files: Sequence[Path]) -> Iterator[Path]:
    """A temporary folder that holds exactly ``files``, in this order, without copying them.

    Their own names stay in the names of the links, so that whoever refuses a file names one that the user knows.
    """
    with tempfile.TemporaryDirectory(prefix="lesion-app-series-") as folder:
        for number, file in enumerate(files):
            os.symlink(file.absolute(), Path(folder) / f"{number:05d}_{file.name[-200:]}")
        yield Path(folder)


@contextmanager
def _silent(logger: str) -> Iterator[None]:
    """Nothing of this logger: it would tell that files were written to the staging folder."""

    def nothing(record: logging.LogRecord) -> bool:
        return False

    logging.getLogger(logger).addFilter(nothing)
    try:
        yield
    finally:
        logging.getLogger(logger).removeFilter(nothing)
