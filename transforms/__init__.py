"""MONAI transforms of the bundle: reading CT, cutting slabs, in-plane views and their boxes."""

from transforms.boxes_to_tensor import BoxesToTensor, BoxesToTensorD, BoxesToTensord, BoxesToTensorDict
from transforms.crop_black_border import CropBlackBorder, CropBlackBorderD, CropBlackBorderd, CropBlackBorderDict
from transforms.ct_reader import open_ct
from transforms.ct_source import CTSource
from transforms.geometry import VolumeGeometry
from transforms.in_plane_spacing import InPlaneSpacing, InPlaneSpacingD, InPlaneSpacingd, InPlaneSpacingDict
from transforms.load_ct import LoadCT, LoadCTD, LoadCTd, LoadCTDict
from transforms.load_slab import LoadSlab, LoadSlabD, LoadSlabd, LoadSlabDict
from transforms.scale_hu import ScaleHU, ScaleHUD, ScaleHUd, ScaleHUDict
from transforms.slab import cut_slab, neighbour_weights
from transforms.student_view import RandStudentView, RandStudentViewD, RandStudentViewd, RandStudentViewDict
from transforms.view import View

__all__ = [
    "BoxesToTensor",
    "BoxesToTensorD",
    "BoxesToTensorDict",
    "BoxesToTensord",
    "CTSource",
    "CropBlackBorder",
    "CropBlackBorderD",
    "CropBlackBorderDict",
    "CropBlackBorderd",
    "InPlaneSpacing",
    "InPlaneSpacingD",
    "InPlaneSpacingDict",
    "InPlaneSpacingd",
    "LoadCT",
    "LoadCTD",
    "LoadCTDict",
    "LoadCTd",
    "LoadSlab",
    "LoadSlabD",
    "LoadSlabDict",
    "LoadSlabd",
    "RandStudentView",
    "RandStudentViewD",
    "RandStudentViewDict",
    "RandStudentViewd",
    "ScaleHU",
    "ScaleHUD",
    "ScaleHUDict",
    "ScaleHUd",
    "View",
    "VolumeGeometry",
    "cut_slab",
    "neighbour_weights",
    "open_ct",
]
