"""DL_info.csv becomes checked columns; a bad row is named by its file and line."""

from __future__ import annotations

import time

import numpy as np
import pytest

from lesion_app.data.deeplesion_csv import clip_to_image, half_open_box, read_deeplesion_csv
from lesion_app.errors import InputError


@pytest.fixture
def read(deeplesion_layout, tmp_path):
    def reader(*rows, columns=deeplesion_layout.COLUMNS):
        return read_deeplesion_csv(deeplesion_layout.write_table(tmp_path / "DL_info.csv", list(rows), columns))

    return reader


def test_published_box_becomes_half_open_from_zero():
    # a 1-based inclusive box over pixels 1..10 covers [0, 10)
    np.testing.assert_array_equal(half_open_box(np.array([[1.0, 3.0, 10.0, 3.0]])), [[0.0, 2.0, 10.0, 3.0]])


def test_clipping_tells_changed_from_unusable():
    boxes = np.array(
        [[1, 1, 5, 5], [-2, 1, 5, 5], [8, 3, 14, 9], [10, 1, 12, 5], [5, 5, 4, 9], [np.nan, 1, 5, 5]], float
    )
    clipped, changed, unusable = clip_to_image(boxes, np.array([10, 8]))
    np.testing.assert_array_equal(clipped[:3], [[1, 1, 5, 5], [0, 1, 5, 5], [8, 3, 10, 8]])
    assert changed.tolist() == [False, True, True, False, False, False]
    assert unusable.tolist() == [False, False, False, True, True, True]


def test_every_column_is_read(read, deeplesion_layout):
    row = deeplesion_layout.row
    rows = read(
        row("000001_01_01_109.png", "226.169, 90.0204, 241.252, 111.977", "103, 115", 3, "0.488281, 0.488281, 5"),
        row("000002_01_03_007.png", split=1, spacing="0.7, 0.7, -1", size="768, 1024", Possibly_noisy=1),
    )
    assert rows.series_id == ["000001_01_01", "000002_01_03"]
    assert rows.key_slice.tolist() == [109, 7]
    np.testing.assert_allclose(rows.box, [[225.169, 89.0204, 241.252, 111.977], [100, 50, 120, 80]], atol=1e-12)
    assert rows.lesion_type.tolist() == [5, -1]
    assert rows.noisy.tolist() == [False, True]
    assert rows.slices.tolist() == [[103, 115], [1, 12]]
    assert rows.spacing_mm.tolist() == [[0.488281, 0.488281, 5], [0.7, 0.7, -1]]
    assert rows.size.tolist() == [[512, 512], [768, 1024]]
    assert rows.split.tolist() == [3, 1]


def test_box_beyond_the_border_is_clipped_and_marked(read, deeplesion_layout):
    row = deeplesion_layout.row
    rows = read(row("000001_01_01_001.png", "0.4, 500, 20, 516.3"), row("000001_01_01_002.png"))
    np.testing.assert_array_equal(rows.box[0], [0, 499, 20, 512])
    assert rows.clipped.tolist() == [True, False]


def test_large_image_keeps_boxes_beyond_512(read, deeplesion_layout):
    rows = read(deeplesion_layout.row("000001_01_01_001.png", "601, 601, 700, 700", size="768, 768"))
    np.testing.assert_array_equal(rows.box[0], [600, 600, 700, 700])
    assert not rows.clipped.any()


@pytest.mark.parametrize("spacing", ["0.8, 0.8, NaN", "0.8, 0.8, ", "NaN", ""])
def test_missing_spacing_is_passed_on_as_nan(read, deeplesion_layout, spacing):
    assert np.isnan(read(deeplesion_layout.row("000001_01_01_001.png", spacing=spacing)).spacing_mm[0, 2])


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"box": "600, 50, 620, 80"}, "Bounding_boxes"),
        ({"box": "-40, 50, 0, 80"}, "Bounding_boxes"),
        ({"box": "120, 50, 100, 80"}, "Bounding_boxes"),
        ({"box": "100, 80, 120, 50"}, "Bounding_boxes"),
        ({"box": "100, 80, 120"}, "Bounding_boxes"),
        ({"box": "100, 80, 120, x"}, "Bounding_boxes"),
        ({"box": "100, 80, 120, inf"}, "Bounding_boxes"),
        ({"box": ""}, "Bounding_boxes"),
        ({"slices": "5, 12"}, "Slice_range"),
        ({"slices": "1.5, 12"}, "Slice_range"),
        ({"spacing": "0.8, 0.8"}, "Spacing_mm_px_"),
        ({"size": "0, 512"}, "Image_size"),
        ({"Train_Val_Test": 4}, "Train_Val_Test"),
        ({"Train_Val_Test": ""}, "Train_Val_Test"),
        ({"Possibly_noisy": 2}, "Possibly_noisy"),
        ({"Coarse_lesion_type": 9}, "Coarse_lesion_type"),
        ({"Key_slice_index": 3}, "Key_slice_index"),
    ],
)
def test_bad_row_is_named_by_file_and_line(read, deeplesion_layout, changes, column):
    row = deeplesion_layout.row
    with pytest.raises(InputError, match=column) as caught:
        read(row("000001_01_01_001.png"), row("000001_01_01_002.png", **changes))
    told = str(caught.value)
    assert "line 3 (000001_01_01_002.png)" in told
    assert "\n" not in told


@pytest.mark.parametrize("name", ["000001_01_01_002.jpg", "../../etc_002.png", "002.png"])
def test_file_name_of_another_form_is_refused(read, deeplesion_layout, name):
    with pytest.raises(InputError, match="File_name"):
        read({**deeplesion_layout.row("000001_01_01_002.png"), "File_name": name})


@pytest.mark.parametrize("column", ["Bounding_boxes", "Slice_range", "Train_Val_Test"])
def test_missing_column_is_named(read, deeplesion_layout, column):
    columns = [c for c in deeplesion_layout.COLUMNS if c != column]
    with pytest.raises(InputError, match=f"lacks the column.*{column}"):
        read(deeplesion_layout.row("000001_01_01_001.png"), columns=columns)


def test_byte_order_mark_blank_lines_and_more_columns_are_no_fault(deeplesion_layout, tmp_path):
    path = deeplesion_layout.write_table(
        tmp_path / "t.csv",
        [{**deeplesion_layout.row("000001_01_01_001.png"), "more": "1"}],
        [*deeplesion_layout.COLUMNS, "more"],
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n\r\n")
    assert len(read_deeplesion_csv(path)) == 1


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n\x00\xff", b"a,b,c\n1,2,3\n", b'File_name,"unclosed\n'], ids=str
)
def test_another_kind_of_file_is_refused(tmp_path, content):
    path = tmp_path / "DL_info.csv"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_deeplesion_csv(path)


def test_file_cut_off_within_a_row_is_refused(deeplesion_layout, tmp_path):
    path = deeplesion_layout.write_table(tmp_path / "t.csv", [deeplesion_layout.row("000001_01_01_001.png")] * 2)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="line 3"):
        read_deeplesion_csv(path)


def test_absent_and_empty_tables_are_told(deeplesion_layout, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_deeplesion_csv(tmp_path / "none.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_deeplesion_csv(tmp_path)
    with pytest.raises(InputError, match="no rows"):
        read_deeplesion_csv(deeplesion_layout.write_table(tmp_path / "t.csv", []))


def test_whole_table_is_read_in_seconds(deeplesion_layout, tmp_path):
    rows = [deeplesion_layout.row(f"{n:06d}_01_01_005.png") for n in range(1, 4001)]
    path = deeplesion_layout.write_table(tmp_path / "t.csv", rows)
    start = time.perf_counter()
    assert len(read_deeplesion_csv(path)) == 4000
    # 32,735 rows are to take less than 5 s
    assert time.perf_counter() - start < 5 * 4000 / 32735


def test_real_test_split_has_the_published_numbers(real_data):
    rows = read_deeplesion_csv(real_data / "deeplesion" / "dl_info" / "DL_info_niftiID_test.csv")
    assert len(rows) == 4927
    assert int(rows.noisy.sum()) == 15
    assert np.bincount(rows.lesion_type)[1:].tolist() == [108, 1173, 864, 700, 1100, 234, 339, 409]
    assert len(set(rows.file_name)) == 4831
    assert len({s[:6] for s in rows.series_id}) == 665
    assert len(set(rows.series_id)) == 2184
    assert (rows.size != 512).any(axis=1).sum() == 1
    assert rows.clipped.sum() == 1
    assert (rows.spacing_mm[:, 2] == 5).sum() == 2469
