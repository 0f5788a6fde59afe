"""What the SCP lets in, and what it answers."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import time

import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from lesion_app.clinical.node import queue_view
from lesion_app.clinical.node.settings import TlsFiles
from lesion_app.clinical.node.state_folder import is_uid
from lesion_app.errors import InputError

SERIES = "1.2.826.0.1.3680043.2"


@pytest.fixture
def listening(start_node):
    """A node that only receives: its series never become quiet."""
    return lambda **changes: start_node(quiet_s=1e6, **changes)


def kept(node) -> list[bytes]:
    return sorted(file.read_bytes() for file in node.folder.series.rglob("*.dcm"))


def test_images_are_kept_as_they_came(listening, send, make_ct):
    node = listening()
    assert send(node.receiver.port, [make_ct()]) == [0]
    (file,) = node.folder.series.rglob("*.dcm")
    image = pydicom.dcmread(file)
    assert (image.SOPInstanceUID, image.PixelData) == (f"{SERIES}.1", bytes(128))
    assert list(node.folder.incoming.iterdir()) == []
    assert queue_view.held_bytes(node.queue) == file.stat().st_size


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless, RLELossless])
def test_compressed_images_stay_compressed(listening, send, make_ct, syntax):
    from pydicom.encaps import encapsulate

    node = listening()
    image = make_ct(syntax=syntax)
    image.PixelData = encapsulate([b"not decoded by the node "])
    image["PixelData"].is_undefined_length = True
    assert send(node.receiver.port, [image]) == [0]
    (file,) = node.folder.series.rglob("*.dcm")
    found = pydicom.dcmread(file)
    assert found.file_meta.TransferSyntaxUID == syntax
    assert found.PixelData == image.PixelData


@pytest.mark.parametrize("titles", [{"calling": "STRANGER"}, {"called": "OTHER"}])
def test_only_named_callers_and_the_own_title(listening, send, make_ct, titles, caplog):
    node = listening()
    assert send(node.receiver.port, [make_ct()], **titles) == [None]
    assert kept(node) == []
    assert "an association from 127.0.0.1 was rejected" in caplog.text


def test_echo(listening):
    from pynetdicom import AE

    entity = AE(ae_title="SCANNER")
    entity.add_requested_context("1.2.840.10008.1.1")
    peer = entity.associate("127.0.0.1", listening().receiver.port, ae_title="ULD")
    assert peer.send_c_echo().Status == 0
    peer.release()


def test_other_objects_find_no_presentation_context(listening, send, make_ct):
    node = listening()
    image = make_ct()
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    assert send(node.receiver.port, [image]) == [None]
    assert kept(node) == []


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("evil", ["../../../../tmp/evil", "/etc/passwd", "1.2/3", "..", "", "1.2\n3", "1." * 40 + "1"])
def test_a_uid_from_the_network_never_becomes_a_path(listening, send, make_ct, tmp_path, evil):
    node = listening()
    before = sorted(path for path in tmp_path.rglob("*") if "queue.db" not in path.name)
    image = make_ct()
    image["SeriesInstanceUID"] = pydicom.DataElement(0x0020000E, "UI", evil, validation_mode=0)
    (status,) = send(node.receiver.port, [image])
    assert status in (0xA900, None)
    assert sorted(path for path in tmp_path.rglob("*") if "queue.db" not in path.name) == before
    assert queue_view.known_instances(node.queue) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.2.840", True), ("1.2.", False), ("", False), ("1" * 65, False), ("1.2\n", False), ("१.२", False)],
)
def test_is_uid(text, expected):
    assert is_uid(text) is expected


def test_a_data_set_without_series_is_refused(listening, send, make_ct):
    image = make_ct()
    del image.SeriesInstanceUID
    assert send(listening().receiver.port, [image]) == [0xA900]


def test_a_full_disk_is_answered_with_out_of_resources_and_the_series_is_not_run(start_node, send, make_ct, wait_for):
    node = start_node(max_bytes=1500)
    images = [make_ct(number=n) for n in range(1, 5)]
    statuses = send(node.receiver.port, images)
    assert statuses[0] == 0
    assert statuses[-1] == 0xA700
    assert queue_view.held_bytes(node.queue) <= 1500
    assert "There is no room for more images." in node.problems()
    assert send(node.receiver.port, images[:1]) == [0], "a known image needs no room"
    wait_for(lambda: queue_view.counts(node.queue)["refused"] == 1)
    assert "found no room" in queue_view.recent(node.queue)[0].reason


def test_finished_series_make_room_for_new_ones(start_node, send, make_ct, wait_for, pacs):
    node = start_node(max_bytes=1300)
    for number in range(4):
        assert send(node.receiver.port, [make_ct(f"{SERIES}.{number}")]) == [0]
        wait_for(lambda n=number: queue_view.counts(node.queue)["done"] == n + 1)
    assert len(pacs.received) == 4
    assert queue_view.held_bytes(node.queue) <= 1300


def test_a_series_whose_transfer_was_cut_off_waits_for_its_sender(start_node, send, make_ct, wait_for, pacs):
    from pynetdicom import AE

    node = start_node(quiet_s=0.3, grace_s=1e6)
    entity = AE(ae_title="SCANNER")
    entity.add_requested_context(make_ct().SOPClassUID)
    peer = entity.associate("127.0.0.1", node.receiver.port, ae_title="ULD")
    assert peer.send_c_store(make_ct(number=1)).Status == 0
    peer.abort()
    wait_for(lambda: node.queue.database.rows("SELECT hold_until FROM jobs")[0]["hold_until"] > 0)
    time.sleep(0.8)
    assert queue_view.counts(node.queue)["received"] == 1
    assert send(node.receiver.port, [make_ct(number=2)]) == [0]
    wait_for(lambda: queue_view.counts(node.queue)["done"] == 1)
    assert len(pacs.received) == 1


def test_a_peer_that_sends_without_end_is_cut_off(listening, monkeypatch):
    monkeypatch.setattr("lesion_app.clinical.node.receiver._LARGEST_IMAGE", 1000)
    node = listening(max_bytes=5000)
    (node.folder.incoming / "growing").write_bytes(bytes(5900))
    assert not node.receiver.abort_when_full()
    (node.folder.incoming / "growing").write_bytes(bytes(6100))
    assert node.receiver.abort_when_full()


def test_an_image_the_disk_would_not_keep_is_missed(start_node, send, make_ct, wait_for, monkeypatch):
    node = start_node()
    keep = node.folder.keep

    def broken(received, series_uid, sop_uid):
        if sop_uid.endswith(".2"):
            raise OSError(28, "No space left on device")
        return keep(received, series_uid, sop_uid)

    monkeypatch.setattr(node.folder, "keep", broken)
    assert send(node.receiver.port, [make_ct(number=n) for n in (1, 2, 3)]) == [0, 0xA700, 0]
    wait_for(lambda: queue_view.counts(node.queue)["refused"] == 1)
    monkeypatch.undo()
    assert send(node.receiver.port, [make_ct(number=2)]) == [0]
    wait_for(lambda: queue_view.counts(node.queue)["done"] == 1)


def test_half_an_image_is_removed_once_nobody_writes_to_it(listening, monkeypatch):
    node = listening()
    for name, age in (("old", 1000.0), ("young", 0.0)):
        (node.folder.incoming / name).touch()
        os.utime(node.folder.incoming / name, (time.time() - age,) * 2)
    node.folder.remove_incoming(older_than_s=120.0)
    assert [file.name for file in node.folder.incoming.iterdir()] == ["young"]


def test_too_little_free_space_is_out_of_resources_too(listening, send, make_ct):
    assert send(listening(min_free_bytes=10**18).receiver.port, [make_ct()]) == [0xA700]


def test_images_leave_when_their_time_is_over(start_node, send, make_ct, wait_for, monkeypatch):
    monkeypatch.setattr("lesion_app.clinical.node.housekeeper._EXPIRE_EVERY_S", 0.1)
    node = start_node(keep_s=0.0)
    send(node.receiver.port, [make_ct()])
    wait_for(lambda: queue_view.counts(node.queue)["done"] == 1 and not list(node.folder.series.iterdir()))
    assert queue_view.held_bytes(node.queue) == 0


def test_what_a_killed_node_left_is_removed_at_the_start(start_node, make_settings):
    state = make_settings().state
    for folder in ("incoming", "series/abc", "runs/old/output"):
        (state / folder).mkdir(parents=True)
        (state / folder / "left.dcm").write_bytes(b"half")
    node = start_node()
    assert [path for path in node.folder.root.rglob("*") if path.name == "left.dcm"] == []
    assert not (state / "runs" / "old").exists()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """``certificates(name)``: (certificate, key) signed by one authority, whose file is ``certificates("ca")[0]``."""
    if shutil.which("openssl") is None:
        pytest.skip("the TLS tests make their certificates with openssl, which is not installed")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = ("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test authority", "-days", "2")
    openssl("req", "-x509", *curve, *authority)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("node", "scanner"):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signing)
    return lambda name: (folder / f"{name}.pem", folder / f"{name}.key")


def client(certificates, name: str | None) -> tuple[ssl.SSLContext, str]:
    context = ssl.create_default_context(cafile=certificates("ca")[0])
    if name is not None:
        context.load_cert_chain(*certificates(name))
    return context, "127.0.0.1"


def test_mutual_tls(listening, send, make_ct, certificates):
    node = listening(tls=TlsFiles(*certificates("node"), certificates("ca")[0]))
    port = node.receiver.port
    assert send(port, [make_ct(number=1)], tls=client(certificates, None)) == [None], "a peer without a certificate"
    assert send(port, [make_ct(number=2)]) == [None], "a peer without TLS"
    assert send(port, [make_ct(number=3)], tls=client(certificates, "scanner")) == [0]
    assert len(kept(node)) == 1


def test_a_peer_that_says_nothing_keeps_no_one_out(listening, send, make_ct, certificates):
    import socket

    node = listening(tls=TlsFiles(*certificates("node")))
    with socket.create_connection(("127.0.0.1", node.receiver.port)):
        assert send(node.receiver.port, [make_ct()], tls=client(certificates, None)) == [0]


def test_tls_files_that_do_not_serve_are_told(start_node, certificates, tmp_path):
    with pytest.raises(InputError, match="--tls-cert does not exist"):
        start_node(tls=TlsFiles(tmp_path / "missing.pem", certificates("node")[1]))
    with pytest.raises(InputError, match="do not fit together"):
        start_node(tls=TlsFiles(certificates("node")[0], certificates("scanner")[1]))


def test_storescu_of_dcmtk(listening, make_ct, tmp_path):
    storescu = shutil.which("storescu", path="/usr/bin:/usr/local/bin")
    if storescu is None:
        pytest.skip("dcmtk's storescu is not installed")
    node = listening()
    make_ct().save_as(tmp_path / "image.dcm", enforce_file_format=True)
    command = [storescu, "-aet", "SCANNER", "-aec", "ULD", "127.0.0.1", str(node.receiver.port)]
    assert subprocess.run([*command, str(tmp_path / "image.dcm")], timeout=20).returncode == 0
    assert len(kept(node)) == 1
