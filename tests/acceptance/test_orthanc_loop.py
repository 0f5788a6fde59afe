"""The whole loop with a real PACS: C-STORE to Orthanc, routed to the node, findings back in Orthanc, once."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lesion_app.bundle_run import config_paths, find_bundle

ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
# pynetdicom puts programs of the same names into the environment
STORESCU, FINDSCU = Path("/usr/bin/storescu"), Path("/usr/bin/findscu")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
MISSING = [str(p) for p in (Path(ORTHANC), STORESCU, FINDSCU, DICOMWEB) if not p.exists()]
SR, SEG, KEY_IMAGE = (
    "1.2.840.10008.5.1.4.1.1.88.34",
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.7",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs {', '.join(MISSING)}: apt-get install orthanc orthanc-dicomweb dcmtk"
    ),
]
pytest.importorskip("highdicom", reason="DICOM findings need highdicom (lesion-app[deploy])")
pytest.importorskip("pynetdicom", reason="the node needs pynetdicom (lesion-app[deploy])")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for(what: str, ready: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = ready()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what} did not come within {seconds:.0f} s")


class Pacs:
    """An Orthanc of its own: HTTP on ``http``, DICOM on ``dicom``."""

    def __init__(self, folder: Path, node_port: int) -> None:
        self.http, self.dicom = free_ports(2)
        settings = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "HttpPort": self.http,
            "DicomAet": "PACS",
            "DicomPort": self.dicom,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowStore": True,
            "DicomModalities": {"lesion-node": ["ULD", "127.0.0.1", node_port]},
            "StableAge": 2,
            "Plugins": [str(DICOMWEB)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "LuaScripts": [str(files("lesion_app.clinical.node").joinpath("route.lua"))],
        }
        folder.mkdir()
        (folder / "orthanc.json").write_text(json.dumps(settings))
        with (folder / "log.txt").open("wb") as log:
            self.process = subprocess.Popen([ORTHANC, str(folder / "orthanc.json")], stdout=log, stderr=log)
        wait_for("Orthanc", self._answers, 30)

    def _answers(self) -> bool:
        try:
            return bool(self.get("/system"))
        except OSError:
            return False

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=20) as answer:
            content = answer.read()
        return json.loads(content) if "json" in answer.headers.get("Content-Type", "") else content

    def send(self, folder: Path, series: str) -> None:
        """C-STORE a folder; what no PACS takes (storescu stops at it unless told otherwise) stays behind."""
        target = ["-aet", "CT", "-aec", "PACS", "+sd", "+r", "-nh", "127.0.0.1", str(self.dicom), str(folder)]
        subprocess.run([STORESCU, "-R", *target], timeout=60, capture_output=True)
        expected = sum(
            pydicom.dcmread(f, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID == series
            for f in folder.iterdir()
        )
        held = [s for s in self.get("/series?expand") if s["MainDicomTags"]["SeriesInstanceUID"] == series]
        assert [len(s["Instances"]) for s in held] == [expected]

    def instances(self, study_uid: str) -> dict[str, Dataset]:
        """Everything of a study that is no CT, by SOP Instance UID."""
        found = {}
        for instance in self.get("/instances?expand"):
            if instance["MainDicomTags"].get("SOPInstanceUID"):
                path = f"/instances/{instance['ID']}"
                if self.get(f"{path}/metadata/SopClassUid").decode() in (SR, SEG, KEY_IMAGE):
                    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(self.get(f"{path}/file")))
                    if dataset.StudyInstanceUID == study_uid:
                        found[str(dataset.SOPInstanceUID)] = dataset
        return found


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    """Orthanc with the route of the repository, and ``lesion-app serve`` with the real report command."""
    base = tmp_path_factory.mktemp("loop")
    bundle = find_bundle()
    overlay = base / "overlay.json"  # an untrained network is sure of nothing: one box a slice, whatever its score
    overlay.write_text(
        json.dumps({"network_def#box_detections_per_image": 1, "network_def#box_score_threshold": 0.0, "sheet": False})
    )
    torch.manual_seed(0)
    parser = ConfigParser(ConfigParser.load_config_files(config_paths(bundle, ["inference", "demo_inference"])))
    torch.save(parser.get_parsed_content("network_def").state_dict(), base / "model.pt")
    program = f'"{sys.executable}" -m lesion_app.cli'
    report = (
        f"{program} report {{input}} {{output}} --models {base / 'model.pt'} --config demo_inference "
        f"--config {overlay} --min-score 0.0"
    )
    node_port, status = free_ports(2)
    pacs = Pacs(base / "orthanc", node_port)
    options = ["--pacs", f"PACS@127.0.0.1:{pacs.dicom}", "--allow", "PACS", "--port", str(node_port), "--quiet", "2"]
    with (base / "node.txt").open("wb") as log:
        node = subprocess.Popen(
            [sys.executable, "-m", "lesion_app.cli", "serve", str(base / "state"), *options]
            + ["--status-port", str(status), "--command", report],
            stdout=log,
            stderr=log,
        )
    pacs.log = base / "node.txt"  # type: ignore[attr-defined]
    try:
        yield pacs
    finally:
        for process in (node, pacs.process):
            process.terminate()
        for process in (node, pacs.process):
            process.wait(timeout=30)


def made_up_study(folder: Path) -> tuple[str, str]:
    """A body of 12 slices, shuffled, and a scout of the same study; returns study and series UID."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    y, x = np.mgrid[:96, :96]
    body = ((x - 48) / 44) ** 2 + ((y - 48) / 34) ** 2 < 1
    folder.mkdir()
    for k in range(13):
        scout = k == 12
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.StudyInstanceUID, data.FrameOfReferenceUID = study, frame
        data.SeriesInstanceUID = generate_uid() if scout else series
        data.Modality, data.PatientID, data.PatientName = "CT", "LOOP", "Phantom^Loop"
        data.PatientBirthDate = data.PatientSex = data.AccessionNumber = data.ReferringPhysicianName = ""
        data.StudyDate, data.StudyTime, data.StudyID = "20260101", "120000", "1"
        data.SeriesNumber, data.InstanceNumber = (2, 1) if scout else (1, k + 1)
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if scout else "AXIAL"]
        data.ImagePositionPatient = [-48.0, -48.0, 5.0 * k]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [1.0, 1.0], 5.0
        data.Rows = data.Columns = 96
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        hu = np.where(body, 40, -1000) + 30 * (((x - 60) ** 2 + (y - 50) ** 2 < 64) & (4 <= k <= 7))
        data.PixelData = (hu + 1024).astype(np.uint16).tobytes()
        data.save_as(folder / f"{(5 * k) % 13:02d}", enforce_file_format=True)
    return str(study), str(series)


def results_of(pacs: Pacs, study: str, series: str, seconds: float) -> dict[str, Dataset]:
    def complete() -> dict[str, Dataset]:
        found = pacs.instances(study)
        return found if any(x.SOPClassUID == SR and refers_to(x, series) for x in found.values()) else {}

    try:
        wait_for("the report", complete, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; the node said:\n{pacs.log.read_text()[-2000:]}") from None  # type: ignore[attr-defined]
    return steady(lambda: pacs.instances(study))


def steady(read: Callable[[], dict[str, Any]], seconds: float = 6.0) -> dict[str, Any]:
    """What ``read`` gives once it has not changed for a while."""
    before, since = read(), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(1.0)
        now = read()
        if set(now) != set(before):
            before, since = now, time.monotonic()
    return before


def refers_to(report: Dataset, series: str) -> bool:
    evidence = report.CurrentRequestedProcedureEvidenceSequence
    return any(s.SeriesInstanceUID == series for study in evidence for s in study.ReferencedSeriesSequence)


def check_results(pacs: Pacs, found: dict[str, Dataset], study: str, series: str) -> None:
    kinds = [str(x.SOPClassUID) for x in found.values() if x.SOPClassUID != SR or refers_to(x, series)]
    assert kinds.count(SR) == 1
    assert kinds.count(SEG) >= 1
    assert kinds.count(KEY_IMAGE) >= 1
    (report,) = (x for x in found.values() if x.SOPClassUID == SR and refers_to(x, series))

    # QIDO-RS and C-FIND, as viewers ask
    from dicomweb_client.api import DICOMwebClient

    client = DICOMwebClient(f"http://127.0.0.1:{pacs.http}/dicom-web")
    modalities = [s["00080060"]["Value"][0] for s in client.search_for_series(study)]
    assert {"CT", "SR", "SEG"} <= set(modalities)
    keys = ["-k", "QueryRetrieveLevel=SERIES", "-k", f"StudyInstanceUID={study}", "-k", "Modality=SR"]
    asked = subprocess.run(
        [FINDSCU, "-S", "-aec", "PACS", *keys, "-k", "SeriesInstanceUID", "127.0.0.1", str(pacs.dicom)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert str(report.SeriesInstanceUID) in asked.stdout + asked.stderr

    # the 3D boxes of the report lie in the frame of the segmented ones, to half a voxel
    boxes = [np.array(corners) for corners in polygons(report)]
    assert boxes
    spacing, extent = segmented_extent([x for x in found.values() if x.SOPClassUID == SEG and of_series(x, series)])
    reported = np.array(
        [np.min([b.min(axis=0) for b in boxes], axis=0), np.max([b.max(axis=0) for b in boxes], axis=0)]
    )
    assert np.abs(reported - extent).max() <= 0.5 * spacing.max() + 0.01


def of_series(segmentation: Dataset, series: str) -> bool:
    return any(s.SeriesInstanceUID == series for s in segmentation.ReferencedSeriesSequence)


def polygons(item: Dataset) -> Iterator[np.ndarray]:
    if item.get("ValueType") == "SCOORD3D":
        yield np.array(item.GraphicData, float).reshape(-1, 3)
    for child in item.get("ContentSequence", []):
        yield from polygons(child)


def segmented_extent(segmentations: list[Dataset]) -> tuple[np.ndarray, np.ndarray]:
    """Spacing (x, y, z) and outer faces [2, 3] in LPS mm of all segmented voxels of axial, unrotated segmentations."""
    low, high, spacing = np.full(3, np.inf), np.full(3, -np.inf), np.zeros(3)
    for data in segmentations:
        shared = data.SharedFunctionalGroupsSequence[0]
        measures = shared.PixelMeasuresSequence[0]
        rows, columns = (float(v) for v in measures.PixelSpacing)
        thickness = float(measures.get("SpacingBetweenSlices", measures.SliceThickness))
        spacing = np.array([columns, rows, thickness])
        frames = data.pixel_array.reshape(-1, data.Rows, data.Columns)
        for frame, groups in zip(frames, data.PerFrameFunctionalGroupsSequence):
            y, x = np.nonzero(frame)
            if len(x):
                origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
                first = origin + spacing * [x.min(), y.min(), 0] - spacing / 2
                last = origin + spacing * [x.max(), y.max(), 0] + spacing / 2
                low, high = np.minimum(low, first), np.maximum(high, last)
    return spacing, np.array([low, high])


def validate(found: dict[str, Dataset], folder: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        return
    for number, dataset in enumerate(found.values()):
        path = folder / f"{number}.dcm"
        dataset.save_as(path)
        said = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, timeout=60)
        assert "Error" not in said.stderr + said.stdout


def test_findings_come_back_once_and_sending_again_doubles_nothing(loop: Pacs, tmp_path: Path) -> None:
    study, series = made_up_study(tmp_path / "ct")
    loop.send(tmp_path / "ct", series)
    found = results_of(loop, study, series, 180)
    check_results(loop, found, study, series)
    validate(found, tmp_path)

    loop.send(tmp_path / "ct", series)
    again = steady(lambda: loop.instances(study), 12.0)
    assert set(again) == set(found)


def test_real_study_among_other_series_gets_its_findings(loop: Pacs, real_data: Path, tmp_path: Path) -> None:
    ct = real_data / "ct"
    sources = sorted((ct / "lungdx_A0002_dicom" / "series_B40f").glob("*.dcm"))
    others = [
        path
        for name in ("second_series_same_study", "localizer_and_screens")
        for path in sorted((ct / "zoo" / name).rglob("*"))
        if path.is_file() and pydicom.misc.is_dicom(path)
    ]
    folder = tmp_path / "study"
    folder.mkdir()
    numbers = random.Random(0).sample(range(1000), len(sources) + len(others))
    for number, path in zip(numbers, sources + others):
        shutil.copy(path, folder / f"{number:03d}")
    first = pydicom.dcmread(sources[0], stop_before_pixels=True)
    study, series = str(first.StudyInstanceUID), str(first.SeriesInstanceUID)
    loop.send(folder, series)
    found = results_of(loop, study, series, 240)
    check_results(loop, found, study, series)
    validate(found, tmp_path)
