"""The sheet: what it holds, and what a browser does with it."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from lesion_app.data.datalist import load_records
from lesion_app.errors import InputError
from lesion_app.labeling.decisions import decide, read_decisions, write_decisions
from lesion_app.labeling.review_queue import review_queue
from lesion_app.labeling.review_sheet import write_review_sheet


@pytest.fixture(scope="module")
def found(phantom_data):
    """Records whose truth was found, with scores, in two sub-volumes; one find touches the image's corner."""
    records = load_records(phantom_data / "datalist.json", "training", phantom_data)[:2]
    for record in records:
        for number, place in enumerate(record["truth"][:3]):
            record["annotations"].append(
                {
                    "slice": place["slice"],
                    "box": list(place["box"]),
                    "label": 1,
                    "kind": "mined",
                    "lesion_type": -1,
                    "noisy": False,
                    "sightings": [{"model": "a" * 64, "score": 0.2}, {"model": "b" * 64, "score": 0.9 - 0.1 * number}],
                }
            )
    records[0]["annotations"][-1].update(slice=records[0]["slices"][0], box=[0.0, 0.0, 6.0, 5.0])
    return records


@pytest.fixture
def sheet(found, tmp_path):
    return write_review_sheet(tmp_path / "review.html", review_queue(found), found)


def data_of(path):
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.S)
    return json.loads(text[1])


def picture(view):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(view["src"].partition(",")[2]))))


def test_sheet_shows_every_find_with_crops_scores_and_origin(found, sheet):
    content = data_of(sheet)
    queue = review_queue(found)
    assert [one["id"] for one in content["suspects"]] == [one.id for one in queue]
    for card, one in zip(content["suspects"], queue):
        assert [s["score"] for s in card["sightings"]] == [score for _, score in one.sightings]
        assert (card["origin"], card["model"]) == ("mined", "b" * 64)
        (middle,) = [view for view in card["views"] if view["slice"] == one.slice]
        assert picture(middle).shape == (middle["height"], middle["width"])
        (suspect,) = [b for b in middle["boxes"] if b["kind"] == "suspect"]
        sides = (suspect["box"][2] - suspect["box"][0], suspect["box"][3] - suspect["box"][1])
        assert sides == pytest.approx((one.box[2] - one.box[0], one.box[3] - one.box[1]), abs=0.02)


def test_crop_is_the_slice_around_the_box_and_black_beyond_its_edge(found, sheet):
    from lesion_app.visualize.ct_window import LUNG, SOFT_TISSUE
    from transforms.ct_reader import open_ct

    record = found[0]
    (card,) = [c for c in data_of(sheet)["suspects"] if c["box"] == [0, 0, 6, 5]]
    assert len(card["views"]) == 2  # there is no slice below the first one
    view = card["views"][0]
    left, top = (round(-inner) for inner in view["boxes"][-1]["box"][:2])
    assert left < 0
    assert top < 0
    seen = picture(view)
    assert not seen[:-top].any()
    assert not seen[:, :-left].any()
    plane = open_ct(record["image"], spacing_mm=record["spacing_mm"], slices=record["slices"]).read([0])[0].numpy()
    (window,) = [w for w in (SOFT_TISSUE, LUNG) if card["window"].startswith(w.name)]
    expected = window.apply(plane)[: top + view["height"], : left + view["width"]]
    np.testing.assert_array_equal(seen[-top:, -left:], expected)


def test_sheet_loads_nothing_and_tells_no_path_of_this_machine(sheet, phantom_data):
    text = sheet.read_text()
    assert "default-src 'none'" in text
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", text.replace("http://www.w3.org/2000/svg", ""))
    assert set(re.findall(r"https?://[^\s\"'`)]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert str(phantom_data) not in text
    assert "truth" not in text


def test_hostile_text_cannot_leave_its_place(found, tmp_path):
    queue = review_queue(found)
    evil = "</script><script>alert(1)</script><!--"
    answer = decide(queue[0], "unknown", evil)
    path = write_review_sheet(tmp_path / "r.html", queue, found, title=evil, decisions=[answer])
    assert "alert(1)</script>" not in path.read_text()
    content = data_of(path)
    assert content["title"] == evil
    assert content["decisions"][0]["by"] == evil


def test_same_input_gives_the_same_bytes(found, tmp_path):
    one, two = (write_review_sheet(tmp_path / name, review_queue(found), found) for name in ("a.html", "b.html"))
    assert one.read_bytes() == two.read_bytes()


def test_nothing_to_review_other_suffixes_and_existing_files_are_refused(found, sheet, tmp_path):
    queue = review_queue(found)
    with pytest.raises(InputError, match="no found box"):
        write_review_sheet(tmp_path / "a.html", [], found)
    with pytest.raises(InputError, match="rename"):
        write_review_sheet(tmp_path / "a.pdf", queue, found)
    before = sheet.read_bytes()
    with pytest.raises(InputError, match="somebody's work"):
        write_review_sheet(sheet, queue, found)
    assert sheet.read_bytes() == before
    with pytest.raises(InputError, match="has no record"):
        write_review_sheet(tmp_path / "a.html", queue, [r for r in found if r["id"] != queue[0].record])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["review.html"]


@pytest.fixture
def browse(tmp_path):
    """``browse(sheet, script)``: what ``script`` gives to ``report`` in headless Chromium, without a network."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")

    def run(sheet, script):
        driver = """<script>
        const press = key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
        const saved = [];
        URL.createObjectURL = blob => { saved.push(blob); return "#"; };
        const report = found => { document.title = JSON.stringify(found); };
        (async () => { try { %s } catch (error) { report({error: String(error)}); } })();
        </script></body>"""
        page = tmp_path / "driven.html"
        page.write_text(sheet.read_text().replace("</body>", driver % script))
        options = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND"]
        options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom"]
        done = subprocess.run([chromium, *options, page.as_uri()], capture_output=True, text=True, timeout=60)
        return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.S)[1]))

    return run


def test_keyboard_alone_answers_and_exports_what_the_program_reads(browse, found, sheet, tmp_path):
    ids = [one.id for one in review_queue(found)]
    seen = browse(
        sheet,
        """
        press("c"); const refused = document.getElementById("message").textContent;
        document.getElementById("reader").value = 'Dr. "A", B';
        document.activeElement.blur();
        press("c"); press("r"); press("u"); press("z"); press("j"); press("u");
        document.getElementById("json").click(); document.getElementById("csv").click();
        report({refused, json: await saved[0].text(), csv: await saved[1].text(),
                count: document.getElementById("count").textContent});
        """,
    )
    assert "who made it" in seen["refused"]
    assert seen["count"] == f"3 of {len(ids)} answered"
    for name in ("json", "csv"):
        path = tmp_path / f"decisions.{name}"
        path.write_text(seen[name], encoding="utf-8", newline="")
        answers = read_decisions(path)
        assert [(one.id, one.verdict) for one in answers] == [
            (ids[0], "confirmed"),
            (ids[1], "rejected"),
            (ids[3], "unknown"),
        ]
        assert {(one.by, one.model) for one in answers} == {('Dr. "A", B', "b" * 64)}


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_imported_answers_stand_beside_those_given_here_and_overwrite_none(browse, found, sheet, tmp_path, suffix):
    queue = review_queue(found)
    others = [decide(one, verdict, 'B, "b"') for one, verdict in zip(queue, ("rejected", "confirmed", "unknown"))]
    text = write_decisions(tmp_path / f"others.{suffix}", others).read_text()
    seen = browse(
        sheet,
        f"""
        document.getElementById("reader").value = "A"; document.activeElement.blur();
        press("c");
        const input = document.getElementById("file"), bag = new DataTransfer();
        bag.items.add(new File([{json.dumps(text)}], "others.{suffix}"));
        input.files = bag.files; input.dispatchEvent(new Event("change"));
        await new Promise(done => setTimeout(done, 500));
        const told = document.getElementById("message").textContent;
        press("k"); press("j"); press("r");
        document.getElementById("json").click();
        report({{told, json: await saved[0].text()}});
        """,
    )
    assert "2 answers taken" in seen["told"]
    assert "1 that contradict" in seen["told"]
    given = [(one["id"], one["verdict"], one["by"]) for one in json.loads(seen["json"])["decisions"]]
    assert given == [
        (queue[0].id, "confirmed", "A"),
        (queue[1].id, "confirmed", 'B, "b"'),
        (queue[1].id, "rejected", "A"),
        (queue[2].id, "unknown", 'B, "b"'),
    ]
