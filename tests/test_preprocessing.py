"""Reading folders of images as the hosts do: preprocessing, names, data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.images import paint
from helpers.launch import import_torchvision
from helpers.models import host_options
from PIL import Image

from kd_plugin.errors import ArgumentError, KDError
from kd_plugin.pictures import (
    Preprocessing,
    UnusableImageError,
    as_array,
    data_set,
    digest_of,
    find_images,
    match_images,
    open_image,
    open_labels,
)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, (80, 60)),
        ({"crop_size": 32}, (80, 60)),
        ({"preprocess": "scale_width", "crop_size": 32, "load_size": 48}, (80, 60)),
        ({"preprocess": "scale_width", "crop_size": 32, "load_size": 48}, (80, 20)),  # no lower than the crop
        ({"preprocess": "scale_width", "crop_size": 32, "load_size": 80}, (80, 60)),
        ({"preprocess": "none"}, (81, 59)),
        ({"preprocess": "none"}, (82, 62)),  # halves are rounded to even
        ({"preprocess": "crop", "crop_size": 32}, (32, 32)),
    ],
)
def test_an_image_is_the_one_that_a_host_tests(
    models: object, tmp_path: Path, settings: dict[str, object], size: tuple[int, int]
) -> None:
    import_torchvision()  # which real hosts need
    from data.single_dataset import SingleDataset  # of the host

    paint(tmp_path / "a.png", *size, 1)
    preprocessing = Preprocessing(**settings)  # type: ignore[arg-type]
    opt = host_options(
        tmp_path,
        dataroot=str(tmp_path),
        max_dataset_size=1,
        preprocess=preprocessing.preprocess,
        load_size=preprocessing.load_size or preprocessing.crop_size,
        crop_size=preprocessing.crop_size,
        no_flip=True,
    )
    theirs = ((SingleDataset(opt)[0]["A"] + 1) * 127.5).round().int().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(as_array(preprocessing(open_image(tmp_path / "a.png"))), theirs)


def test_crops_are_central() -> None:
    values = np.arange(8 * 6).reshape(6, 8).astype(np.uint8)
    image = Preprocessing("crop", crop_size=2)(Image.fromarray(values))
    np.testing.assert_array_equal(np.asarray(image), values[2:4, 3:5])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preprocess": "scale"}, "unknown preprocessing 'scale': did you mean 'scale_width'?"),
        ({"load_size": 100}, "images of 100 pixels cannot be cropped to 256"),
    ],
)
def test_settings_without_meaning_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message.replace("?", r"\?")):
        Preprocessing(**settings)  # type: ignore[arg-type]


def test_an_image_smaller_than_the_crop_is_unusable() -> None:
    with pytest.raises(UnusableImageError, match="its 8x6 pixels are less than the crop of 7"):
        Preprocessing("crop", crop_size=7)(Image.new("RGB", (8, 6)))


@pytest.mark.parametrize("suffix", ["", "_fake_B", "_fake"])
def test_results_of_a_host_belong_to_their_inputs(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b", "c"):
        paint(tmp_path / f"{name}{suffix}.jpg", 8, 8, 1)
    paint(tmp_path / "a_real_A.png", 8, 8, 1)
    found, unused = match_images(["a", "sub/b", "d"], tmp_path)
    assert {name: file.name for name, file in found.items()} == {"a": f"a{suffix}.jpg", "sub/b": f"b{suffix}.jpg"}
    assert [file.name for file in unused] == [f"c{suffix}.jpg"]


def test_images_of_all_subfolders_are_found_in_order(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/z.jpeg", "c/a.webp"):
        paint(tmp_path / name, 8, 8, 1)
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    assert [file.relative_to(tmp_path).as_posix() for file in find_images(tmp_path)] == [
        "a/z.jpeg",
        "b.PNG",
        "c/a.webp",
    ]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    for folder, message in (
        (tmp_path, "no images"),
        (tmp_path / "x", "no such folder"),
        (Path(__file__), "not a fold"),
    ):
        with pytest.raises(KDError, match=message):
            find_images(folder)


def test_the_folders_of_a_data_set(images: Path, tmp_path: Path) -> None:
    assert data_set(images / "paired") == {"AB": images / "paired" / "test"}
    assert data_set(images / "unpaired", "train") == {side: images / "unpaired" / f"train{side}" for side in "AB"}
    with pytest.raises(KDError, match="not a data set of the hosts: expected test/ with pairs"):
        data_set(tmp_path)


def test_the_digest_depends_on_pixels_and_shape_alone() -> None:
    values = np.arange(12, dtype=np.uint8)
    assert digest_of(values.reshape(2, 2, 3)) == digest_of(np.asfortranarray(values.reshape(2, 2, 3)))
    assert digest_of(values.reshape(2, 2, 3)) != digest_of(values.reshape(1, 4, 3))


def test_label_maps_keep_their_values(tmp_path: Path) -> None:
    values = np.array([[0, 3], [255, 7]], dtype=np.uint8)
    palette = Image.fromarray(values, mode="L").convert("P")
    palette.putpalette(bytes(range(256)) * 3)
    for image, name in ((Image.fromarray(values), "grey.png"), (palette, "palette.png")):
        image.save(tmp_path / name)
        np.testing.assert_array_equal(np.asarray(open_labels(tmp_path / name)), values)
    Image.new("RGB", (2, 2)).save(tmp_path / "colours.png")
    with pytest.raises(UnusableImageError, match="its mode is RGB"):
        open_labels(tmp_path / "colours.png")
