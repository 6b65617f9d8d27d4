"""How files become arrays: preset, spacing, size, type; and what augmentation may change."""

import math

from pipeline.configure.fingerprint import Fingerprint
from pipeline.configure.rules.rule import Choice, Chosen, rule
from pipeline.words import counted

XRAY = ("CR", "DX", "DR", "MG", "PX", "IO", "RG", "XA", "RF")
"""Modalities of DICOM that are projections."""
PLACES = 0.1
"""Images whose mean thumbnail explains less than this share show no common place."""
ALIGNED = 0.3
"""Volumes whose mean thumbnail explains more lie alike to a few voxels."""
MIRRORED = 0.99
"""Correlation from which on the mean thumbnail counts as its own mirror image."""
FEW_VOLUMES = 500
PICTURE_CPU, PICTURE_GPU = 64**2, 224**2
"""Pixels that a network gets of a picture."""
FEW_CPU, VOLUME_CPU, VOLUME_GPU = 3_000, 24**3, 64**3
"""Voxels that it gets of a volume."""
MULTIPLE = {2: 8, 3: 4}
"""Sides are multiples of this many pixels, so that they can be halved."""
CUBIC = ("mr", "ct_soft")
"""Presets that are made for volumes."""


def is_ct(f: Fingerprint) -> bool:
    says_so = f.pixels.modality == "CT" and not f.pixels.no_hounsfield
    return says_so or (f.pixels.spatial_dims == 3 and f.pixels.is_hounsfield)


def is_placed(f: Fingerprint) -> bool:
    """Do the images show the same part of the body?"""
    return f.pixels.likeness.shared >= PLACES


def few_aligned_volumes(f: Fingerprint) -> bool:
    return (
        f.pixels.spatial_dims == 3
        and f.cohort.num_images < FEW_VOLUMES
        and f.pixels.likeness.shared >= ALIGNED
    )


@rule(
    "images",
    "ct_soft",
    "DICOM of modality CT whose values can be Hounsfield units, and volumes whose values are such",
)
def ct(f: Fingerprint, _: Chosen) -> Choice | None:
    if not is_ct(f):
        return None
    values = f"values from {f.pixels.lowest:g} to {f.pixels.highest:g} HU"
    return Choice("ct_soft", f"CT, {values}; ct_lung and ct_bone show other tissue")


@rule("images", "mr", "other volumes, and DICOM of modality MR")
def mr(f: Fingerprint, _: Chosen) -> Choice | None:
    if f.pixels.spatial_dims != 3 and f.pixels.modality != "MR":
        return None
    what = "MR" if f.pixels.modality == "MR" else "volumes without a unit"
    return Choice("mr", f"{what}: each from its 1st to its 99th percentile")


@rule("images", "ultrasound", "DICOM of modality US")
def ultrasound(f: Fingerprint, _: Chosen) -> Choice | None:
    if f.pixels.modality != "US":
        return None
    return Choice("ultrasound", "modality US: gain is set by hand, so each image has mean 0, SD 1")


@rule("images", "radiograph", "grey pictures of more than 8 bits, and DICOM of an X-ray modality")
def radiograph(f: Fingerprint, _: Chosen) -> Choice | None:
    if f.pixels.is_colour or (f.pixels.bit_depth <= 8 and f.pixels.modality not in XRAY):
        return None
    depth = f"{f.pixels.bit_depth} bits"
    return Choice("radiograph", f"grey, {depth}: exposure and depth shall not count")


@rule("images", "histology", "pictures in colour that show no common place")
def histology(f: Fingerprint, _: Chosen) -> Choice | None:
    if not f.pixels.is_colour or is_placed(f):
        return None
    shared = f"{f.pixels.likeness.shared:.0%}"
    return Choice("histology", f"colour, and the mean picture explains {shared}: patches of tissue")


@rule("images", "dermoscopy", "other pictures in colour")
def dermoscopy(f: Fingerprint, _: Chosen) -> Choice | None:
    return Choice("dermoscopy", "photographs in colour") if f.pixels.is_colour else None


@rule("images", "grey64", "other grey pictures")
def grey(f: Fingerprint, _: Chosen) -> Choice | None:
    return Choice("grey64", f"grey pictures of {f.pixels.bit_depth} bits, as stored")


@rule("images.spatial_dims", "2", "pictures for which a preset of volumes was chosen")
def slices(f: Fingerprint, chosen: Chosen) -> Choice | None:
    if f.pixels.spatial_dims == 3 or chosen["images"] not in CUBIC:
        return None
    return Choice(2, "the files are slices, one image each")


@rule("images.num_channels", "1", "several files a sample that differ in their channels")
def one_channel(f: Fingerprint, _: Chosen) -> Choice | None:
    if not f.pixels.has_unlike_files:
        return None
    return Choice(1, "of each file of a sample, since they differ: colour becomes its luminance")


@rule("images.num_channels", "the number of channels of a file", "channels that are no colour")
def channels(f: Fingerprint, _: Chosen) -> Choice | None:
    number = f.pixels.num_channels
    as_colour = f.pixels.is_colour or f.pixels.has_colour_model  # the latter may be grey
    if number == 1 or (number == 3 and as_colour):
        return None
    return Choice(number, f"each file has {number} channels")


@rule("images.spacing", "the median pixel size, in mm", "CT and MR whose pixel sizes differ")
def resampled(f: Fingerprint, chosen: Chosen) -> Choice | None:
    if chosen["images"] not in CUBIC or f.pixels.spacing is None or not f.pixels.spacing_varies:
        return None
    return Choice(list(f.pixels.spacing), "pixel sizes differ: all get the median one, in mm")


@rule("images.spacing", "null: as stored", "other CT and MR")
def as_stored(f: Fingerprint, chosen: Chosen) -> Choice | None:
    if chosen["images"] not in CUBIC:
        return None
    unknown = f.pixels.spacing is None
    why = "not every file says its pixel size" if unknown else "pixels are the same size in all"
    return Choice(None, f"{why}: taken as stored")


@rule(
    "images.transforms",
    "padded or cropped to one extent: the 95th percentile of the sides",
    "volumes",
)
def one_extent(f: Fingerprint, _: Chosen) -> Choice | None:
    if f.pixels.spatial_dims != 3:
        return None
    size, factors = grid(f)
    extent = [side * factor for side, factor in zip(size, factors, strict=True)]
    leaf = {"_target_": "monai.transforms.ResizeWithPadOrCrop", "spatial_size": extent}
    return Choice([leaf], "19 of 20 volumes fit in: padded or cropped, so that millimetres stay")


@rule("images.transforms", "none: `images.size` resizes", "`images=grey64`")
def no_transforms(_: Fingerprint, chosen: Chosen) -> Choice | None:
    if chosen["images"] != "grey64":
        return None
    return Choice([], "images.size resizes, in place of the preset's 64 x 64")


@rule(
    "images.size",
    "the extent over whole numbers, as equal in mm as possible: at most 3,000 voxels",
    "volumes on a CPU, fewer than 500, that lie alike (0.3 or more explained by their mean)",
)
def size_of_few_volumes(f: Fingerprint, _: Chosen) -> Choice | None:
    if f.machine.gpus or not few_aligned_volumes(f):
        return None
    number = counted(f.cohort.num_images, "volume")
    return Choice(list(grid(f)[0]), f"{number} cannot teach finer detail: {_voxels(f)}")


@rule("images.size", "the same, at most 13,824 voxels (24 cubed)", "other volumes on a CPU")
def size_of_volumes_cpu(f: Fingerprint, _: Chosen) -> Choice | None:
    if f.machine.gpus or f.pixels.spatial_dims != 3:
        return None
    return Choice(list(grid(f)[0]), f"what a CPU can train on: {_voxels(f)}")


@rule("images.size", "the same, at most 262,144 voxels (64 cubed)", "volumes on a GPU")
def size_of_volumes_gpu(f: Fingerprint, _: Chosen) -> Choice | None:
    if f.pixels.spatial_dims != 3:
        return None
    return Choice(list(grid(f)[0]), f"what a GPU trains on in hours: {_voxels(f)}")


@rule(
    "images.size",
    "the median shape, at most 64 x 64 pixels in number, in multiples of 8",
    "pictures on a CPU",
)
def size_of_pictures_cpu(f: Fingerprint, _: Chosen) -> Choice | None:
    return None if f.machine.gpus else _picture(f, PICTURE_CPU, "a CPU")


@rule("images.size", "the same, at most 224 x 224 pixels in number", "pictures on a GPU")
def size_of_pictures_gpu(f: Fingerprint, _: Chosen) -> Choice | None:
    return _picture(f, PICTURE_GPU, "a GPU")


@rule("images.fit", "stretch", "CT and MR: the crop was made before")
def fit(f: Fingerprint, chosen: Chosen) -> Choice | None:
    if chosen["images"] not in CUBIC:
        return None
    whole = "means of equal cells, after the crop above" if f.pixels.spatial_dims == 3 else ""
    return Choice("stretch", whole or "the whole slice is seen")


@rule("images.dtype", "float16", "values that a window or percentiles spread from 0 to 1")
def half(_: Fingerprint, chosen: Chosen) -> Choice | None:
    if chosen["images"] not in (*CUBIC, "radiograph", "ultrasound"):
        return None
    return Choice("float16", "values from 0 to 1, or with SD 1: 11 bits keep their contrast")


@rule("images.dtype", "auto", "others")
def as_files(f: Fingerprint, _: Chosen) -> Choice | None:
    kept = "8 bits stay 8 bits" if f.pixels.bit_depth <= 8 else "as deep as the files"
    return Choice("auto", kept)


@rule("augment", "volume", "volumes")
def turned_volumes(f: Fingerprint, _: Chosen) -> Choice | None:
    if f.pixels.spatial_dims != 3:
        return None
    return Choice("volume", "volumes: the left side stays left")


@rule("augment", "histology", "pictures that show no common place")
def turned_patches(f: Fingerprint, _: Chosen) -> Choice | None:
    return None if is_placed(f) else Choice("histology", "no common place: there is no up")


@rule("augment", "light", "other pictures")
def turned_pictures(_: Fingerprint, __: Chosen) -> Choice | None:
    return Choice("light", "the same part of the body in all: small turns and shifts")


@rule(
    "augment.flip_axes",
    "the axes along which the mean picture is its own mirror image (correlation 0.99)",
    "`augment=light`",
)
def flips(f: Fingerprint, chosen: Chosen) -> Choice | None:
    if chosen["augment"] != "light":
        return None
    found = [f"{correlation:.2f}" for correlation in f.pixels.likeness.mirrored]
    axes = [axis for axis, r in enumerate(f.pixels.likeness.mirrored) if r >= MIRRORED]
    like = " and ".join(found)
    return Choice(axes, f"the mean picture is like its mirror images by {like} (0.99 is asked)")


@rule("augment.rotate_degrees", "5", "volumes that lie alike")
def turned_less(f: Fingerprint, _: Chosen) -> Choice | None:
    if f.pixels.spatial_dims != 3 or f.pixels.likeness.shared < ALIGNED:
        return None
    shared = f"{f.pixels.likeness.shared:.0%}"
    return Choice(5, f"volumes lie alike (their mean explains {shared}): small turns")


@rule("augment.shift", "0.02", "volumes that lie alike")
def shifted_less(f: Fingerprint, _: Chosen) -> Choice | None:
    if f.pixels.spatial_dims != 3 or f.pixels.likeness.shared < ALIGNED:
        return None
    return Choice(0.02, "larger shifts would hide where an edge lies")


@rule("features", "intensity", "patches of tissue in colour")
def features(_: Fingerprint, chosen: Chosen) -> Choice | None:
    if chosen["images"] != "histology":
        return None
    return Choice("intensity", "for baselines: colour tells more than place")


def grid(f: Fingerprint) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(D,) cells along each axis of a volume, and (D,) how many voxels along each axis make one.

    Cells are as equal in mm as whole numbers of voxels allow.
    """
    pixels = f.pixels
    on_cpu = FEW_CPU if few_aligned_volumes(f) else VOLUME_CPU
    most = VOLUME_GPU if f.machine.gpus else on_cpu
    spacing = pixels.spacing or (1.0,) * 3
    sides = [extent / size for extent, size in zip(pixels.extent, spacing, strict=True)]
    cell, factors = min(spacing), [1] * 3
    while math.prod(side / k for side, k in zip(sides, factors, strict=True)) > most:
        cell *= 1.02
        factors = [max(1, round(cell / size)) for size in spacing]
    step = MULTIPLE[3]
    cells = [step * math.ceil(side / k / step) for side, k in zip(sides, factors, strict=True)]
    return tuple(cells), tuple(factors)


def _voxels(f: Fingerprint) -> str:
    """How large a cell is, in words."""
    _, factors = grid(f)
    spacing = f.pixels.spacing
    sizes = [factor * (spacing[i] if spacing else 1) for i, factor in enumerate(factors)]
    unit = "mm" if spacing else "voxels"
    return f"cells of {' x '.join(f'{size:.3g}' for size in sizes)} {unit}"


def _picture(f: Fingerprint, most: int, device: str) -> Choice | None:
    """The median shape, made smaller if it has more pixels than a device trains on."""
    if f.pixels.spatial_dims != 2:
        return None
    shape, step = f.pixels.median_shape, MULTIPLE[2]
    scale = min(1.0, math.sqrt(most / math.prod(shape)))
    size = [max(1, round(side * scale)) for side in shape]
    size = [side // step * step if side >= 4 * step else side for side in size]
    median = " x ".join(map(str, shape))
    why = f"of {median}, as many as {device} can train on" if scale < 1 else f"about {median}"
    return Choice(size, f"{why}, in multiples of {step}")


RULES = (
    *(ct, mr, ultrasound, radiograph, histology, dermoscopy, grey),
    *(slices, one_channel, channels, resampled, as_stored, one_extent, no_transforms),
    *(size_of_few_volumes, size_of_volumes_cpu, size_of_volumes_gpu),
    *(size_of_pictures_cpu, size_of_pictures_gpu, fit, half, as_files),
    *(turned_volumes, turned_patches, turned_pictures, flips, turned_less, shifted_less, features),
)
