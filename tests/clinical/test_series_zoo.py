"""Every awkward file, alone and mixed into a good series: as docs/dicom_in.md has it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from lesion_app.clinical.series import choose_series
from lesion_app.errors import InputError
from transforms import open_ct

GOOD = "1.3.6.1.4.1.14519.5.2.1.6655.2359.207154000096236603057216610983"
FEW = r"too few slices \(1\) of its SeriesInstanceUID \(0020,000E\)"
TAGLESS = r"other DICOM object by Modality \(0008,0060\)"
SYNTAXES = "transfer_syntaxes_chest_ct/CTImage.dcm_"
# What is said of each file or folder alone; None where it is chosen.
ALONE = {
    "corrupt": r"UN_sequence\.dcm is a damaged DICOM file without SeriesInstanceUID",
    "corrupt/CTImageStorage_bad_meta.dcm": FEW,
    "corrupt/CT_small.dcm": FEW,
    "corrupt/ExplVR_BigEndNoMeta.dcm": "no DICOM file was found",
    "corrupt/J2K_pixelrep_mismatch.dcm": FEW,
    "corrupt/UN_sequence.dcm": r"damaged DICOM file without SeriesInstanceUID \(0020,000E\)",
    "corrupt/empty_charset_LEI.dcm": TAGLESS,
    "corrupt/meta_missing_tsyntax.dcm": TAGLESS,
    "corrupt/no-pixel-spacing.dcm": r"US object by Modality \(0008,0060\)",
    "corrupt/no_meta_group_length.dcm": TAGLESS,
    "enhanced_ct": None,
    "enhanced_ct/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm": r"computed values \(RCBF\) by FrameType \(0008,9007\)",
    "enhanced_ct/eCT_Supplemental.dcm": r"computed values \(RCBF\) by FrameType \(0008,9007\)",
    "enhanced_ct/legacy_converted_tiny_23x38x3.dcm": None,
    "gantry_tilt_variable_spacing_ge": r"18\.5 degrees \(gantry tilt, by ImagePositionPatient \(0020,0032\)",
    **{f"gantry_tilt_variable_spacing_ge/{number}.dcm": FEW for number in range(12, 18)},
    "localizer_and_screens": r"localizer or screen capture by ImageType",
    "localizer_and_screens/ge_chest_scout_jpeg70.dcm": r"localizer or screen capture by ImageType \(0008,0008\)",
    "localizer_and_screens/ge_dose_report_no_pixels.dcm": r"other than an image slice by SOPClassUID \(0008,0016\)",
    "localizer_and_screens/philips_exam_summary_secondary_capture.dcm": r"other than an image slice by SOPClassUID",
    "localizer_and_screens/philips_surview_localizer.dcm": r"localizer or screen capture by ImageType \(0008,0008\)",
    "non_ct": r"SR object by Modality \(0008,0060\), .* and 1 more series were left out",
    "non_ct/CR_MONOCHROME1_J2K.dcm": r"CR object by Modality \(0008,0060\)",
    "non_ct/MR_small.dcm": r"MR object by Modality \(0008,0060\)",
    "non_ct/SEG_partial_overlaps.dcm": r"SEG object by Modality \(0008,0060\)",
    "non_ct/reportsi.dcm": r"SR object by Modality \(0008,0060\)",
    "non_ct/rtplan.dcm": r"RTPLAN object by Modality \(0008,0060\)",
    "second_series_same_study": None,
    **{f"second_series_same_study/1-{number}.dcm": FEW for number in range(14, 18)},
    "transfer_syntaxes_chest_ct": r"4\.55\.dcm cannot be decoded: TransferSyntaxUID \(0002,0010\) is JPEG Full",
    f"{SYNTAXES}BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm": FEW,
    f"{SYNTAXES}JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90.dcm": FEW,
    f"{SYNTAXES}JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80.dcm": FEW,
    f"{SYNTAXES}JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm": r"TransferSyntaxUID \(0002,0010\)",
    f"{SYNTAXES}JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57.dcm": FEW,
    f"{SYNTAXES}JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm": FEW,
    f"{SYNTAXES}LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1.dcm": FEW,
}
# Mixed into the good series all others leave it chosen: these might be slices of it.
REFUSED_MIXED = dict.fromkeys(("corrupt", "corrupt/UN_sequence.dcm"), ALONE["corrupt/UN_sequence.dcm"])


@pytest.fixture(scope="module")
def ct(real_data):
    return real_data / "ct"


def linked(folder, files):
    """Lay links to files under meaningless names of a shuffled order into ``folder``, keeping the end of the name."""
    order = np.random.default_rng(0).permutation(len(files))
    for number, file in zip(order, files):
        (folder / f"sub{number % 3}").mkdir(exist_ok=True)
        os.symlink(file, folder / f"sub{number % 3}" / f"{number:03d}_{file.name}")


def files_of(place):
    return sorted(place.iterdir()) if place.is_dir() else [place]


def test_the_table_leaves_out_no_file(ct):
    found = {path.relative_to(ct / "zoo").as_posix() for path in (ct / "zoo").rglob("*")}
    assert found == set(ALONE)


@pytest.mark.parametrize("name", ALONE)
def test_alone(ct, tmp_path, name):
    linked(tmp_path, files_of(ct / "zoo" / name))
    if ALONE[name] is None:
        choice = choose_series(tmp_path)
        assert open_ct(choice.files).series_uid == choice.series_uid
        return
    with pytest.raises(InputError, match=ALONE[name]) as caught:
        choose_series(tmp_path)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ALONE)
def test_mixed_into_a_good_series(ct, tmp_path, name):
    good = files_of(ct / "lungdx_A0002_dicom" / "series_B40f")
    linked(tmp_path, good + files_of(ct / "zoo" / name))
    if name in REFUSED_MIXED:
        with pytest.raises(InputError, match=REFUSED_MIXED[name]):
            choose_series(tmp_path)
        return
    choice = choose_series(tmp_path)
    assert choice.series_uid == GOOD
    # Its files are numbered from head to feet.
    names = [re.sub(r"^\d+_", "", file.name) for file in choice.files]
    assert names == [file.name for file in reversed(good)]
    others = sum(int(re.findall(r"(\d+) files?\)", one.label)[0]) for one in choice.rejected)
    not_dicom = Path(name).name == "ExplVR_BigEndNoMeta.dcm"
    assert others == len(files_of(ct / "zoo" / name)) - not_dicom


def test_chosen_slices_equal_the_series_alone(ct, tmp_path):
    good = ct / "lungdx_A0002_dicom" / "series_B40f"
    linked(
        tmp_path,
        [f for place in ("second_series_same_study", "localizer_and_screens") for f in files_of(ct / "zoo" / place)]
        + files_of(good),
    )
    source, alone = open_ct(choose_series(tmp_path).files), open_ct(good)
    np.testing.assert_array_equal(source.geometry.affine_lps, alone.geometry.affine_lps)
    np.testing.assert_array_equal(source.read(), alone.read())
