"""PNG, NIfTI, NRRD and MetaImage: right voxels at the right place, or one sentence."""

from __future__ import annotations

import itertools
import pickle
import tracemalloc

import itk
import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from lesion_app.errors import InputError
from transforms import open_ct
from transforms.load_ct import LoadCT

RNG = np.random.default_rng(0)


def write_png(folder, numbers, size=(6, 8)):
    for number in numbers:
        hu = np.full(size, number)
        hu[0, 0], hu[-1, 2] = -1000, 500
        Image.fromarray((hu + 32768).astype(np.uint16)).save(folder / f"{number:03d}.png")
    return folder


def scan(shape=(5, 6, 7)):
    return RNG.integers(-1000, 1500, shape).astype(np.int16)


def save_nifti(path, data, affine=None):
    nibabel.save(nibabel.Nifti1Image(data, np.diag([-0.7, -0.8, 2.5, 1.0]) if affine is None else affine), path)
    return path


class TestPNG:
    def test_run_is_read_in_hu_with_its_numbers(self, tmp_path):
        source = open_ct(write_png(tmp_path, range(10, 16)), spacing_mm=(0.7, 0.8, 5.0), slices=(11, 14))
        assert source.source_kind == "png"
        assert source.shape == (4, 6, 8)
        assert source.geometry.first_slice_number == 11
        assert source.geometry.spacing_mm == (0.7, 0.8, 5.0)
        volume = source.read()
        assert volume.dtype == torch.int16
        assert volume[:, 1, 1].tolist() == [11, 12, 13, 14]
        assert volume[0, 0, 0] == -1000
        assert volume[0, -1, 2] == 500
        assert source.series_uid is None

    def test_place_counts_from_the_first_slices_corner_voxel(self, tmp_path):
        geometry = open_ct(write_png(tmp_path, range(10, 16)), spacing_mm=(0.5, 0.5, 2.0), slices=(11, 14)).geometry
        np.testing.assert_array_equal(geometry.affine_lps, np.diag([0.5, 0.5, 2.0, 1.0]))
        assert geometry.boxes_to_file_grid([[1, 2, 0, 3, 4, 2]]).tolist() == [[1, 2, 11, 3, 4, 13]]
        assert geometry.boxes_to_lps([[0, 0, 0, 1, 1, 1]]).tolist() == [[-0.25, -0.25, -1, 0.25, 0.25, 1]]

    def test_indices_may_repeat_in_any_order(self, tmp_path):
        source = open_ct(write_png(tmp_path, range(10, 16)), spacing_mm=(1, 1, 1))
        assert source.read([3, 0, 3])[:, 1, 1].tolist() == [13, 10, 13]
        assert source.read([]).shape == (0, 6, 8)
        with pytest.raises(IndexError):
            source.read([6])

    def test_whole_range_of_16_bits_is_kept(self, tmp_path):
        Image.fromarray(np.array([[0, 65535, 32768]], dtype=np.uint16)).save(tmp_path / "001.png")
        assert open_ct(tmp_path, spacing_mm=(1, 1, 1)).read().tolist() == [[[-32768, 32767, 0]]]

    def test_missing_number_takes_the_nearest_slice(self, tmp_path):
        source = open_ct(write_png(tmp_path, [10, 11, 14, 15]), spacing_mm=(1, 1, 1), slices=(10, 15))
        assert source.read()[:, 1, 1].tolist() == [10, 11, 11, 14, 14, 15]

    def test_missing_number_is_not_taken_from_another_run(self, tmp_path):
        source = open_ct(write_png(tmp_path, [10, 14]), spacing_mm=(1, 1, 1), slices=(10, 13))
        assert source.read()[:, 1, 1].tolist() == [10, 10, 10, 10]

    def test_several_runs_must_be_named(self, tmp_path):
        with pytest.raises(InputError, match=r"2 separate runs of slices \(3-5, 9-9\).*slices="):
            open_ct(write_png(tmp_path, [3, 4, 5, 9]), spacing_mm=(1, 1, 1))

    def test_spacing_must_be_given(self, tmp_path):
        with pytest.raises(InputError, match=r"give spacing_mm=\(x, y, z\)"):
            open_ct(write_png(tmp_path, [1]))

    @pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, float("nan")), "abc", 3, (1, -1, 1)])
    def test_spacing_must_be_three_positive_numbers(self, tmp_path, spacing):
        with pytest.raises(InputError, match="three positive numbers"):
            open_ct(write_png(tmp_path, [1]), spacing_mm=spacing)

    @pytest.mark.parametrize("slices", [(5, 3), (1,), (-1, 4), "xy", ("a", "b"), 7])
    def test_run_must_be_two_ascending_numbers(self, tmp_path, slices):
        with pytest.raises(InputError, match="two whole numbers"):
            open_ct(write_png(tmp_path, [1]), spacing_mm=(1, 1, 1), slices=slices)

    def test_run_without_a_slice_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="no slice numbered 20 to 30"):
            open_ct(write_png(tmp_path, [1, 2]), spacing_mm=(1, 1, 1), slices=(20, 30))

    @pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
    def test_windowed_pictures_are_refused(self, tmp_path, mode):
        Image.new(mode, (8, 8)).save(tmp_path / "001.png")
        with pytest.raises(InputError, match="16-bit grey PNG"):
            open_ct(tmp_path, spacing_mm=(1, 1, 1))

    def test_slices_of_another_size_are_refused(self, tmp_path):
        write_png(tmp_path, [1])
        write_png(tmp_path, [2], size=(4, 4))
        with pytest.raises(InputError, match=r"002\.png has 4 x 4 px"):
            open_ct(tmp_path, spacing_mm=(1, 1, 1)).read()

    def test_damaged_slice_is_refused(self, tmp_path):
        file = write_png(tmp_path, [1], size=(64, 64)) / "001.png"
        file.write_bytes(file.read_bytes()[:70])
        with pytest.raises(InputError, match=r"001\.png could not be read"):
            open_ct(tmp_path, spacing_mm=(1, 1, 1)).read()

    def test_values_without_the_offset_are_refused(self, tmp_path):
        Image.fromarray(np.full((4, 4), 1064, dtype=np.uint16)).save(tmp_path / "001.png")
        with pytest.raises(InputError, match="CT in HU was expected"):
            open_ct(tmp_path, spacing_mm=(1, 1, 1)).read([0])

    def test_names_that_are_no_numbers_are_refused(self, tmp_path):
        Image.new("L", (8, 8)).save(tmp_path / "figure.png")
        with pytest.raises(InputError, match="named by its slice number"):
            open_ct(tmp_path, spacing_mm=(1, 1, 1))


class TestOrientation:
    @pytest.mark.parametrize(
        ("axes", "signs"),
        list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))),
    )
    @pytest.mark.parametrize("suffix", [".nii", ".mha"])
    def test_voxels_agree_with_the_affine(self, tmp_path, axes, signs, suffix):
        data, lps = scan(), np.eye(4)
        lps[:3, :3] = 0
        for f, (axis, sign) in enumerate(zip(axes, signs)):
            lps[axis, f] = sign * (0.7, 0.8, 2.5)[axis]
        lps[:3, 3] = (5.0, -6.0, 7.0)
        path = tmp_path / f"ct{suffix}"
        if suffix == ".nii":
            save_nifti(path, data, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)
        else:
            image = itk.image_from_array(np.ascontiguousarray(data.transpose(2, 1, 0)))
            spacing = np.linalg.norm(lps[:3, :3], axis=0)
            image.SetSpacing(spacing.tolist())
            image.SetOrigin([5.0, -6.0, 7.0])
            image.SetDirection(itk.matrix_from_array(lps[:3, :3] / spacing))
            itk.imwrite(image, str(path))
        source = open_ct(path)
        volume = source.read().numpy()
        np.testing.assert_allclose(source.geometry.affine_lps[:3, :3], np.diag([0.7, 0.8, 2.5]), atol=1e-6)
        z, y, x = np.indices(volume.shape).reshape(3, -1)
        centres = source.geometry.affine_lps @ np.stack([x, y, z, np.ones_like(x)])
        i, j, k = np.rint(np.linalg.inv(lps) @ centres)[:3].astype(int)
        np.testing.assert_array_equal(volume.ravel(), data[i, j, k])
        np.testing.assert_array_equal(source.read([2, 0]).numpy(), volume[[2, 0]])

    def test_run_of_a_sagittal_file(self, tmp_path):
        affine = np.array([[0, 0, 2.0, 0], [1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
        path = save_nifti(tmp_path / "ct.nii.gz", scan(), affine)
        whole, part = open_ct(path).read(), open_ct(path, slices=(1, 3))
        assert torch.equal(part.read(), whole[1:4])
        assert torch.equal(part.read([2]), whole[3:4])
        assert part.geometry.first_slice_number == 1


class TestNifti:
    def test_scaled_and_float_values_are_rounded_and_clamped(self, tmp_path):
        data = np.zeros((2, 2, 2), dtype=np.float32)
        data[0, 0] = [-1000.6, np.nan]
        data[0, 1] = [1e6, -1e6]
        data[1, 0] = [np.inf, 0.4]
        volume = open_ct(save_nifti(tmp_path / "ct.nii", data, np.diag([-1.0, -1.0, 1.0, 1.0]))).read()
        assert volume[:, 0, 0].tolist() == [-1001, -1024]
        assert volume[:, 1, 0].tolist() == [32767, -32768]
        assert volume[:, 0, 1].tolist() == [32767, 0]

    def test_slope_and_intercept_are_applied(self, tmp_path):
        image = nibabel.Nifti1Image(np.array([[[0, 1024, 3000]]], dtype=np.uint16), np.diag([-1.0, -1.0, 1.0, 1.0]))
        image.header.set_slope_inter(1, -1024)
        nibabel.save(image, tmp_path / "ct.nii")
        assert open_ct(tmp_path / "ct.nii").read().flatten().tolist() == [-1024, 0, 1976]

    def test_metres_become_mm(self, tmp_path):
        image = nibabel.Nifti1Image(scan(), np.diag([-0.001, -0.001, 0.002, 1.0]))
        image.header.set_xyzt_units("meter")
        nibabel.save(image, tmp_path / "ct.nii")
        assert open_ct(tmp_path / "ct.nii").geometry.spacing_mm == pytest.approx((1.0, 1.0, 2.0))

    def test_trailing_axis_of_one_is_dropped(self, tmp_path):
        data = scan()
        path = save_nifti(tmp_path / "ct.nii", data[..., None])
        np.testing.assert_array_equal(open_ct(path).read().numpy(), data.transpose(2, 1, 0))

    def test_unknown_orientation_is_noted(self, tmp_path):
        image = nibabel.Nifti1Image(scan(), None)
        nibabel.save(image, tmp_path / "ct.nii")
        assert "no patient orientation" in open_ct(tmp_path / "ct.nii").notes[0]

    @pytest.mark.parametrize("shape", [(4, 4, 4, 2), (4, 4), (4, 4, 4, 1, 3)])
    def test_other_than_three_dimensions_are_refused(self, tmp_path, shape):
        with pytest.raises(InputError, match="three-dimensional"):
            open_ct(save_nifti(tmp_path / "ct.nii", np.zeros(shape, dtype=np.int16)))

    def test_rgb_is_refused(self, tmp_path):
        data = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
        with pytest.raises(InputError, match="three-dimensional volume of HU"):
            open_ct(save_nifti(tmp_path / "ct.nii", data))

    @pytest.mark.parametrize(
        "data",
        [
            np.zeros((4, 4, 4), dtype=np.int16),
            np.full((4, 4, 4), -1000, dtype=np.int16),
            (np.arange(64).reshape(4, 4, 4) * 4).astype(np.uint8),
            np.linspace(-3, 3, 64).reshape(4, 4, 4).astype(np.float32),
            (np.arange(64).reshape(4, 4, 4) * 60).astype(np.int16),
        ],
        ids=["empty", "constant", "0..255", "normalised", "not rescaled"],
    )
    def test_values_that_are_no_hu_are_refused(self, tmp_path, data):
        source = open_ct(save_nifti(tmp_path / "ct.nii", data))
        with pytest.raises(InputError, match="CT in HU was expected"):
            source.read()

    def test_truncated_file_is_refused(self, tmp_path):
        path = save_nifti(tmp_path / "ct.nii.gz", scan((40, 40, 40)))
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(InputError, match="could not be read as NIfTI"):
            open_ct(path).read()

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr", ".dcm", ".jpg", ""])
    @pytest.mark.parametrize("content", [b"", b"no image at all\n" * 50, b"\x00" * 200 + b"\xff" * 400])
    def test_random_file_of_any_name_is_refused(self, tmp_path, suffix, content):
        path = tmp_path / f"ct{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError):
            open_ct(path).read()

    def test_memory_is_the_volume_and_little_more(self, tmp_path):
        path = save_nifti(tmp_path / "ct.nii.gz", scan((128, 128, 100)))
        tracemalloc.start()
        volume = open_ct(path).read()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.5 * volume.numel() * 2


class TestITK:
    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
    @pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nhdr"])
    def test_number_types_and_formats(self, tmp_path, dtype, suffix):
        data = RNG.integers(0, 100, (4, 5, 6)).astype(dtype)
        if np.dtype(dtype).kind != "u":
            data[0, 0, :2] = [-1000, 1500]
        path = tmp_path / f"ct{suffix}"
        itk.imwrite(itk.image_from_array(data), str(path), compression=suffix == ".nrrd")
        source = open_ct(path)
        assert source.source_kind == ("nrrd" if suffix in (".nrrd", ".nhdr") else "metaimage")
        # By indices, as a whole volume of unsigned numbers is refused for being no HU.
        np.testing.assert_array_equal(source.read(range(4)).numpy(), data.astype(np.int16))

    def test_colour_and_two_dimensions_are_refused(self, tmp_path):
        itk.imwrite(itk.image_from_array(np.zeros((3, 4, 5, 3), np.uint8), is_vector=True), str(tmp_path / "rgb.nrrd"))
        itk.imwrite(itk.image_from_array(np.zeros((4, 5), np.int16)), str(tmp_path / "flat.mha"))
        for name in ("rgb.nrrd", "flat.mha"):
            with pytest.raises(InputError, match="three-dimensional"):
                open_ct(tmp_path / name)

    def test_header_without_its_pixels_is_refused(self, tmp_path):
        itk.imwrite(itk.image_from_array(scan()), str(tmp_path / "ct.mhd"))
        next(tmp_path.glob("ct.*raw")).unlink()
        with pytest.raises(InputError):
            open_ct(tmp_path / "ct.mhd").read()


def test_nothing_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no file or folder nowhere"):
        open_ct(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no file at all"):
        open_ct(tmp_path)


def test_picture_is_an_input_error(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "ct.jpg")
    Image.new("RGB", (8, 8)).save(tmp_path / "ct.png")
    for name in ("ct.jpg", "ct.png"):
        with pytest.raises(InputError, match="not a CT that can be read"):
            open_ct(tmp_path / name)


def test_source_can_be_sent_to_a_worker(tmp_path):
    source = pickle.loads(pickle.dumps(open_ct(save_nifti(tmp_path / "ct.nii.gz", scan()))))
    assert source.read().shape == (7, 6, 5)


@pytest.mark.parametrize("spare", [0, -1])
def test_volume_is_kept_up_to_its_bound(tmp_path, spare):
    volume = np.arange(-1000, -1000 + 3 * 4 * 5 * 10, 10, dtype=np.int16).reshape(3, 4, 5)
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)
    image, source = LoadCT(keep_bytes=volume.nbytes + spare)(path)
    path.unlink()
    if spare < 0:
        with pytest.raises((InputError, OSError)):
            source.read()
    else:
        assert torch.equal(source.read(), image)
        assert torch.equal(source.read([2, 0, 2]), image[[2, 0, 2]])
        with pytest.raises(IndexError):
            source.read([5])
