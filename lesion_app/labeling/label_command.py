"""The command line's ``label``: MONAI Label's server with our app, safe to start beside a viewer."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from lesion_app.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HERE = Path(__file__).resolve().parent


def label(
    studies: Annotated[str, typer.Argument(help="Folder of CTs (.nii, .nii.gz, .nrrd), or http(s)://host/dicom-web.")],
    work: Annotated[
        Path, typer.Option(help="Folder for models, trainings and the cache of a DICOMweb store; outlives restarts.")
    ] = Path("labeling"),
    weights: Annotated[
        Path | None, typer.Option(help="First model; default: the one trained last in --work, else the bundle's.")
    ] = None,
    config: Annotated[
        list[str] | None, typer.Option("--config", help="Overlay on inference.json; may be repeated.")
    ] = None,
    train_config: Annotated[
        list[str] | None, typer.Option("--train-config", help="Overlay on train.json; may be repeated.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Folder of the bundle (holds configs/).")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Listen beyond this machine; the server itself asks nobody who.")
    ] = False,
    host_name: Annotated[
        list[str] | None, typer.Option("--host-name", help="Further name this server is called by; may be repeated.")
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option("--origin", help="Page that may call it, as http://viewer:3000.")
    ] = None,
    max_gb: Annotated[float, typer.Option(help="Largest request, GB.")] = 4.0,
) -> None:
    """Let radiologists confirm and reject what the model suspects, in 3D Slicer or OHIF."""
    environment = server_environment(
        studies,
        work,
        weights=weights,
        configs=config or (),
        train_configs=train_config or (),
        bundle=bundle,
        host=host,
        port=port,
        allow_network=allow_network,
        host_names=host_name or (),
        origins=origin or (),
        max_bytes=int(max_gb * 1e9),
    )
    typer.echo(f"label server: http://{'[' + host + ']' if ':' in host else host}:{port} (stop it with Ctrl-C)")
    _serve(environment, host, port)


def server_environment(
    studies: str,
    work: Path,
    *,
    weights: Path | None = None,
    configs: Sequence[str] = (),
    train_configs: Sequence[str] = (),
    bundle: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    allow_network: bool = False,
    host_names: Sequence[str] = (),
    origins: Sequence[str] = (),
    max_bytes: int = 4 * 10**9,
) -> dict[str, str]:
    """Check everything a start needs and return the environment variables of server and trainings.

    Nothing is fetched from the internet, now or later. Folders of ``work`` are made, for this user alone.

    Raises:
        InputError: MONAI Label is not installed, no such studies, the DICOMweb server does not answer, no weights, an
            unknown config, an address beyond this machine without ``allow_network``, or a port in use.
    """
    from lesion_app.bundle_run import config_paths, find_bundle

    if find_spec("monailabel") is None:
        raise InputError(
            "the label server needs MONAI Label, which has an environment of its own: run `make label-env`, then "
            ".venv-label/bin/python -m lesion_app.cli label ..."
        )
    if host not in LOOPBACK and not allow_network:
        raise InputError(
            f"{host} can be reached from other machines, and the server asks nobody who they are; put it behind a "
            "proxy that does and listen at 127.0.0.1, or pass --allow-network"
        )
    root = find_bundle(bundle)
    config_paths(root, ["inference.json", *configs])
    config_paths(root, ["train.json", *train_configs])
    work = Path(work).absolute()
    folders = {name: work / name for name in ("models", "runs", "cache", "uploads")}
    try:
        for folder in (work, *folders.values()):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(f"{work} cannot be used ({error.strerror}); name another folder with --work") from error
    first = weights or root / "models" / "model.pt"
    if weights is not None and not weights.is_file():
        raise InputError(f"there are no weights at {weights}; name a state dict")
    if not first.is_file() and not (folders["models"] / "model.pt").is_file():
        raise InputError(f"there is no model at {first}; train one with `lesion-app train`, or name --weights")
    remote = studies.startswith(("http://", "https://"))
    if remote:
        _check_dicomweb(studies)
    elif not Path(studies).is_dir():
        raise InputError(
            f"there is no folder {studies}; name the folder of the CTs, or the address of a DICOMweb server"
        )
    _check_port(host, port)
    settings = {
        "APP_DIR": str(_HERE / "app"),
        "STUDIES": studies.rstrip("/") if remote else str(Path(studies).resolve()),
        "APP_CONF": json.dumps(
            {
                "work": str(work),
                "bundle": str(root),
                "weights": str(weights.absolute()) if weights else "",
                "configs": json.dumps(list(map(_absolute, configs))),
                "train_configs": json.dumps(list(map(_absolute, train_configs))),
            }
        ),
        "SERVER_PORT": str(port),
        "DATASTORE_FILE_EXT": json.dumps(["*.nii.gz", "*.nii", "*.nrrd"]),
        "SESSIONS": "false",
        "TRACKING_ENABLED": "false",
        "DICOMWEB_CACHE_PATH": str(folders["cache"]),
        # a reader waits for new studies and labels; upstream remembers its lists for two hours
        "DICOMWEB_CACHE_EXPIRY": os.environ.get("MONAI_LABEL_DICOMWEB_CACHE_EXPIRY", "30"),
    }
    guard = {
        "hosts": [*LOOPBACK, host, *host_names],
        "origins": list(origins),
        "max_bytes": max_bytes,
    }
    # Origins are checked by the guard: upstream's own setting of them breaks its scorings and trainings (0.8.5).
    paths = [str(_HERE / "start_hook"), os.environ.get("PYTHONPATH", "")]
    return {
        **{f"MONAI_LABEL_{key}": value for key, value in settings.items()},
        "LESION_APP_LABEL_GUARD": json.dumps(guard),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "TMPDIR": str(folders["uploads"]),
    }


def _serve(environment: Mapping[str, str], host: str, port: int) -> None:
    """Run the server in this process until it is stopped."""
    import uvicorn

    from lesion_app.labeling.upstream_imports import allow_upstream_imports

    os.umask(0o077)  # images and labels are patient data
    os.environ.update(environment)
    tempfile.tempdir = environment["TMPDIR"]
    os.environ.pop("MONAI_LABEL_CORS_ORIGINS", None)
    for left in Path(environment["TMPDIR"]).iterdir():  # patient data of a server that was killed
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("lesion_app").setLevel(logging.INFO)
    allow_upstream_imports()
    uvicorn.run("lesion_app.labeling.asgi:app", host=host, port=port, log_level="info", access_log=False)


def _check_dicomweb(url: str) -> None:
    """Ask the server one question, so that a wrong address is told now and not by the first reader."""
    import urllib.error
    import urllib.request

    shown = urlsplit(url)
    if shown.username or shown.password:
        raise InputError(
            "the DICOMweb address holds a password; set MONAI_LABEL_DICOMWEB_USERNAME and _PASSWORD instead"
        )
    request = urllib.request.Request(url.rstrip("/") + "/series?limit=1", headers={"Accept": "application/dicom+json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            json.loads(answer.read() or b"[]")
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):  # upstream's own settings hold the password
            raise InputError(f"{url} answers {error.code} to a DICOMweb search; name the root of QIDO-RS") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"no DICOMweb server answers at {url}; start it, or mend the address (Orthanc: http://host:8042/dicom-web)"
        ) from error


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"port {port} of {host} cannot be used ({error.strerror}); name another one with --port"
            ) from error


def _absolute(name: str) -> str:
    """A config file's path as it is found from anywhere; names of the bundle's configs stay."""
    return str(Path(name).absolute()) if Path(name).is_file() else name
