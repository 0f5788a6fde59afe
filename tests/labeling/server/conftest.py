"""A label server of its own for a folder or an Orthanc, with a tiny untrained model."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

SMALL = {
    "network_def#box_detections_per_image": 1,
    "network_def#box_score_threshold": 0.0,
    "min_score": 0.0,
    "network_def#backbone#growth_rate": 4,
    "network_def#backbone#block_config": [1, 1, 1],
    "network_def#backbone#num_init_features": 8,
    "network_def#backbone#out_channels": 16,
    "network_def#box_head_channels": 16,
    "pixel_spacing_mm": 2.0,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def volume(seed: int) -> np.ndarray:
    """48 x 40 x 6 voxels HU: a noisy body with two bright spots."""
    rng = np.random.default_rng(seed)
    values = np.full((48, 40, 6), -1000.0)
    values[6:42, 6:34] = 40 + rng.normal(0, 15, (36, 28, 6))
    values[10:18, 10:18, 1:3] += 120
    values[28:36, 20:28, 3:5] += 120
    return values.astype(np.int16)


class Server:
    """Address and folders of a running label server."""

    def __init__(self, base: Path, studies: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.base, self.studies, self.process, self.log = base, studies, process, log
        self.url = f"http://127.0.0.1:{port}"

    def call(self, method: str, path: str, **options: Any) -> Any:
        import requests

        answer = requests.request(method, self.url + path, timeout=300, **options)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}\n{self.log.read_text()[-3000:]}"
        return answer.json()

    def status(self, method: str, path: str, **options: Any) -> int:
        import requests

        return requests.request(method, self.url + path, timeout=300, **options).status_code

    def finished(self, task: str, seconds: float = 300) -> dict[str, Any]:
        """The task's last state when it runs no more."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            told = self.call("GET", f"/{task}/")
            if told["status"] not in ("SUBMITTED", "RUNNING"):
                return told
            time.sleep(1)
        raise AssertionError(f"{task} did not end within {seconds} s: {told}")


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """``start_server(studies)``; stopped at the end of the module."""
    pytest.importorskip("monailabel.config", reason="run it with `make label-test`")
    import torch
    from monai.bundle import ConfigParser

    from lesion_app.bundle_run import config_paths, find_bundle

    running: list[subprocess.Popen[bytes]] = []

    def start(studies: str) -> Server:
        base = tmp_path_factory.mktemp("label")
        (base / "small.json").write_text(json.dumps(SMALL))
        parser = ConfigParser(ConfigParser.load_config_files(config_paths(find_bundle(), ["inference.json"])))
        parser.update(SMALL)
        torch.manual_seed(0)
        torch.save(parser.get_parsed_content("network_def").state_dict(), base / "model.pt")
        training = {key: value for key, value in SMALL.items() if key != "min_score"}
        (base / "small_train.json").write_text(
            json.dumps({**training, "num_workers": 0, "val_num_workers": 0, "picture_every": 1000})
        )
        port, log = free_port(), base / "log.txt"
        code = "import typer; from lesion_app.labeling.label_command import label; typer.run(label)"
        command = [sys.executable, "-c", code, studies, "--work", str(base / "work"), "--port", str(port)]
        command += ["--weights", str(base / "model.pt"), "--config", str(base / "small.json")]
        command += ["--train-config", str(base / "small_train.json")]
        environment = {
            **os.environ,
            "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
            "MONAI_LABEL_DICOMWEB_CACHE_EXPIRY": "1",
        }
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
        running.append(process)
        server = Server(base, studies, process, port, log)
        for _ in range(600):
            if process.poll() is not None:
                break
            try:
                server.call("GET", "/info/")
                return server
            except OSError:
                time.sleep(1)
        raise AssertionError(f"the server did not start:\n{log.read_text()[-3000:]}")

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def nifti_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three CTs; LPS of the first voxel's centre is (-40, -30, -100), voxels are 2 x 2 x 5 mm."""
    folder = tmp_path_factory.mktemp("cts")
    affine = np.array([[-2.0, 0, 0, 40], [0, -2.0, 0, 30], [0, 0, 5.0, -100], [0, 0, 0, 1]])
    for seed in range(3):
        nibabel.save(nibabel.Nifti1Image(volume(seed), affine), folder / f"ct_{seed}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the DICOMweb root of an Orthanc that holds one CT series."""
    import urllib.request

    plugin = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    program = shutil.which("Orthanc")
    if program is None or not plugin.is_file():
        pytest.skip("Orthanc and its DICOMweb plugin are not installed")
    folder = tmp_path_factory.mktemp("orthanc")
    http, dicom = free_port(), free_port()
    settings = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpPort": http,
        "DicomPort": dicom,
        "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        for _ in range(60):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{http}/system", timeout=5).read()
                break
            except OSError:
                time.sleep(0.5)
        for file in dicom_files(folder):
            urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{http}/instances", data=file.read_bytes(), method="POST")
            ).read()
        yield f"http://127.0.0.1:{http}/dicom-web"
    finally:
        process.terminate()
        process.wait(timeout=30)


def dicom_files(folder: Path) -> list[Path]:
    """The CT of ``volume(0)`` as a series on the same places in the patient as the NIfTI files."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    files = []
    for k, plane in enumerate(np.moveaxis(volume(0), 2, 0)):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.Modality, data.PatientID, data.PatientName = "CT", "L1", "Phantom^Label"
        data.StudyDate, data.StudyTime, data.SeriesNumber, data.InstanceNumber = "20260101", "120000", 1, k + 1
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.ImagePositionPatient, data.ImageOrientationPatient = [-40.0, -30.0, -100 + 5.0 * k], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [2.0, 2.0], 5.0
        data.Rows, data.Columns = 40, 48
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelData = (plane.T + 1024).clip(0).astype(np.uint16).tobytes()
        files.append(folder / f"{k}.dcm")
        data.save_as(files[-1], enforce_file_format=True)
    return files
