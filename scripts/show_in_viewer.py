"""What a viewer makes of our results: a study and its findings in Orthanc, opened in OHIF, photographed.

    npm pack @ohif/app@3.12 && tar xzf ohif-app-3.12*.tgz            # OHIF's built pages, in package/dist
    python scripts/show_in_viewer.py --study STUDY --results OUT/dicom --ohif package/dist --out pictures

Needs Orthanc with its DICOMweb plugin and Chromium (Debian: orthanc, orthanc-dicomweb, chromium). Everything runs on
loopback ports of its own and is gone afterwards. Writes ``ohif_<n>_<name>.png``: the study as OHIF opens it, then one
picture for each series of the findings after a double click on its thumbnail.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import pydicom
from aiohttp import web
from PIL import Image

from lesion_app.errors import InputError

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CONFIG = """window.config = {
  routerBasename: '/', extensions: [], modes: [], customizationService: {}, showStudyList: true,
  maxNumberOfWebWorkers: 2, showLoadingIndicator: true, useSharedArrayBuffer: 'FALSE', showCPUFallbackMessage: false,
  strictZSpacingForVolumeViewport: true, investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'dicomweb',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'dicomweb',
    configuration: {
      friendlyName: 'Orthanc', name: 'orthanc', wadoUriRoot: '/dicom-web', qidoRoot: '/dicom-web',
      wadoRoot: '/dicom-web', qidoSupportsIncludeField: false, imageRendering: 'wadors', enableStudyLazyLoad: true,
      thumbnailRendering: 'wadors', supportsFuzzyMatching: false, supportsWildcard: true,
      dicomUploadEnabled: false, bulkDataURI: { enabled: true, relativeResolution: 'studies' },
    },
  }],
};
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="folder of the CT's DICOM files")
    parser.add_argument("--results", type=Path, required=True, help="folder of our DICOM files (OUT/dicom)")
    parser.add_argument("--ohif", type=Path, required=True, help="the dist folder of @ohif/app")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--wait", type=float, default=25.0, help="seconds to let OHIF load")
    options = parser.parse_args()
    try:
        asyncio.run(show(options))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


async def show(options: argparse.Namespace) -> None:
    programs = {name: shutil.which(name) for name in ("Orthanc", "chromium")}
    for name, path in programs.items():
        if path is None:
            raise InputError(f"{name} was not found; install it (Debian: orthanc, orthanc-dicomweb, chromium)")
    if not DICOMWEB.is_file():
        raise InputError(f"{DICOMWEB} was not found; install Orthanc's DICOMweb plugin (Debian: orthanc-dicomweb)")
    if not (options.ohif / "index.html").is_file():
        raise InputError(f"{options.ohif} holds no index.html; name the dist folder of the npm package @ohif/app 3.12")
    images, findings = dicom_files(options.study), dicom_files(options.results)
    if not images or not findings:
        raise InputError("no DICOM file was found in the study's or the results' folder; check --study and --results")
    study = str(pydicom.dcmread(images[0], stop_before_pixels=True).StudyInstanceUID)
    options.out.mkdir(parents=True, exist_ok=True)
    http, dicom, pages, debug = free_ports(4)
    with tempfile.TemporaryDirectory(prefix="viewer-") as folder:
        settings = {
            "StorageDirectory": f"{folder}/orthanc",
            "IndexDirectory": f"{folder}/orthanc",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "HttpPort": http,
            "DicomPort": dicom,
            "Plugins": [str(DICOMWEB)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        Path(folder, "orthanc.json").write_text(json.dumps(settings))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        orthanc = subprocess.Popen([programs["Orthanc"], f"{folder}/orthanc.json"], **quiet)  # type: ignore[call-overload]
        chromium = subprocess.Popen(
            [
                programs["chromium"],
                *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"),
                *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
                *("--window-size=1500,950", f"--user-data-dir={folder}/profile", f"--remote-debugging-port={debug}"),
                "about:blank",
            ],
            **quiet,
        )
        try:
            async with aiohttp.ClientSession() as session:
                await reachable(session, f"http://127.0.0.1:{http}/system")
                for path in images + findings:
                    async with session.post(f"http://127.0.0.1:{http}/instances", data=path.read_bytes()) as answer:
                        answer.raise_for_status()
                runner = await serve_pages(options.ohif, session, http, pages)
                await reachable(session, f"http://127.0.0.1:{debug}/json/version")
                await photograph(session, debug, pages, study, options)
                await runner.cleanup()
        finally:
            for process in (chromium, orthanc):
                process.terminate()
                process.wait(timeout=20)


def dicom_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and pydicom.misc.is_dicom(path)]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


async def reachable(session: aiohttp.ClientSession, url: str) -> None:
    for _ in range(100):
        try:
            async with session.get(url):
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.3)
    raise InputError(f"nothing answered at {url} within 30 s; look whether Orthanc and Chromium start by hand")


async def serve_pages(dist: Path, session: aiohttp.ClientSession, orthanc: int, port: int) -> web.AppRunner:
    """OHIF's files and, under the same origin, Orthanc's DICOMweb, so that no cross-origin rule is in the way."""

    async def page(request: web.Request) -> web.StreamResponse:
        path = request.path.lstrip("/")
        if path == "app-config.js":
            return web.Response(text=CONFIG, content_type="text/javascript")
        file = (dist / path).resolve()
        if not file.is_file() or not file.is_relative_to(dist.resolve()):
            file = dist / "index.html"  # the pages are one program that reads the address itself
        return web.FileResponse(file)

    async def forward(request: web.Request) -> web.Response:
        url = f"http://127.0.0.1:{orthanc}{request.path_qs}"
        headers = {k: v for k, v in request.headers.items() if k.lower() in ("accept", "content-type")}
        async with session.request(request.method, url, headers=headers, data=await request.read()) as answer:
            kept = {"Content-Type": answer.headers.get("Content-Type", "application/octet-stream")}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/dicom-web/{rest:.*}", forward)
    app.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


async def photograph(
    session: aiohttp.ClientSession, debug: int, pages: int, study: str, options: argparse.Namespace
) -> None:
    async with session.get(f"http://127.0.0.1:{debug}/json") as answer:
        target = next(t for t in await answer.json() if t["type"] == "page")
    async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket_:
        browser = Browser(socket_)
        await browser.call("Page.enable")
        size = {"width": 1500, "height": 950, "deviceScaleFactor": 1, "mobile": False}
        await browser.call("Emulation.setDeviceMetricsOverride", **size)
        await browser.call("Page.navigate", url=f"http://127.0.0.1:{pages}/viewer?StudyInstanceUIDs={study}")
        await asyncio.sleep(options.wait)
        await browser.click("Skip all")  # the tour for new users lies over the pictures
        await asyncio.sleep(2)
        written = [await browser.save(options.out / "ohif_0_study.png")]
        places = await browser.evaluate(
            "[...document.querySelectorAll('[data-cy^=study-browser-thumbnail]')].map(e => {"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2, e.innerText]})"
        )
        for number, (x, y, text) in enumerate(places or [], start=1):
            name = "".join(c if c.isalnum() else "_" for c in str(text).split("\n")[0].lower())[:20] or "series"
            for clicks in (1, 2):
                for kind in ("mousePressed", "mouseReleased"):
                    place = {"x": x, "y": y, "button": "left", "clickCount": clicks}
                    await browser.call("Input.dispatchMouseEvent", type=kind, **place)
            await asyncio.sleep(options.wait / 3)
            for answer in ("Yes", "Confirm", "Load"):  # OHIF asks before it draws a report or a segmentation
                await browser.click(answer)
            await asyncio.sleep(options.wait / 3)
            written.append(await browser.save(options.out / f"ohif_{number}_{name}.png"))
        for path in written:
            print(f"wrote {path}")


class Browser:
    """The few calls of the Chrome DevTools Protocol that are needed."""

    def __init__(self, socket_: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket_
        self.number = 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": params})
        while True:
            message = json.loads((await self.socket.receive()).data)
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]  # type: ignore[no-any-return]

    async def evaluate(self, expression: str) -> Any:
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    async def click(self, label: str) -> None:
        """Press the innermost element that says ``label``, if there is one."""
        await self.evaluate(
            f"[...document.querySelectorAll('button, span, div')].filter(e => e.innerText === {json.dumps(label)})"
            ".slice(-1).forEach(e => e.click())"
        )

    async def save(self, path: Path) -> Path:
        """A screenshot with at most 256 colours, which CT and a few lines of colour do with."""
        shot = await self.call("Page.captureScreenshot", format="png")
        image = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
        image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
        return path


if __name__ == "__main__":
    sys.exit(main())
