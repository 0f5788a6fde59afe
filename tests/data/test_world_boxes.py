from pathlib import Path

import nibabel
import numpy as np
import pytest

from lesion_app.data.world_boxes import record_of_world_boxes, slab_dataset, volume_dataset
from lesion_app.errors import InputError


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """40 x 30 x 6 voxels of 2 x 2 x 5 mm; in LPS the first voxel's centre is (-10, 20, 100), axes run along x, y, z."""
    values = np.full((40, 30, 6), -1000, np.int16)
    values[5:35, 5:25] = 40
    affine = np.array([[-2.0, 0, 0, 10], [0, -2.0, 0, -20], [0, 0, 5.0, 100], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


# voxels x 10..19, y 8..11, z 2..3: half-open edges times spacing from the first voxel's outer face
BOX = [-11 + 2 * 15, 19 + 2 * 10, 97.5 + 5 * 3, 20, 8, 10]


def test_box_stands_on_every_slice_it_holds(ct: Path) -> None:
    record = record_of_world_boxes({"image": str(ct), "box": [BOX], "label": [0]})
    assert [a["slice"] for a in record["annotations"]] == [2, 3]
    assert record["annotations"][0]["box"] == pytest.approx([10, 8, 20, 12], abs=1e-3)
    assert {a["label"] for a in record["annotations"]} == {1}
    assert record["slices"] == [0, 5]


def test_lists_of_boxes_become_what_the_recipe_trains_on(ct: Path) -> None:
    item = {"image": str(ct), "box": [BOX], "label": [0]}
    training = slab_dataset([item], lambda one: one, seed=0)
    assert [training[i]["slice"] for i in range(len(training))] == [2, 3]
    volumes = volume_dataset([item])
    assert len(volumes) == 1
    assert len(volumes[0]["annotations"]) == 1  # one lesion, whatever its slices
    assert volumes[0]["annotations"][0]["extent"][2::3] == [2, 4]


def test_items_of_a_datalist_pass_unchanged() -> None:
    item = {"image": "x", "boxes": [[1, 2, 3, 4]]}
    assert slab_dataset([item], lambda one: one, seed=0).data == [item]
    assert volume_dataset([item]).data == [item]


def test_volume_without_boxes_validates_and_does_not_train(ct: Path) -> None:
    item = {"image": str(ct), "box": [], "label": []}
    assert len(slab_dataset([item], None, seed=0)) == 0
    assert volume_dataset([item])[0]["annotations"] == []


@pytest.mark.parametrize(
    ("box", "label"), [([BOX], []), ([BOX[:5]], [0]), ([[500, 0, 100, 5, 5, 5]], [0]), ([[0, 0, 900, 5, 5, 5]], [0])]
)
def test_faulty_lists_are_refused(ct: Path, box: list[list[float]], label: list[int]) -> None:
    with pytest.raises(InputError):
        record_of_world_boxes({"image": str(ct), "box": box, "label": label})
