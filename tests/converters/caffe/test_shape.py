"""Layers that move numbers, and change none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knight.errors import ModelError
from tests.converters.caffe.nets import (
    assert_matches,
    assert_matches_opencv,
    convert_net,
    image,
    layer,
    numbers,
)


def test_as_opencv_computes_them(tmp_path: Path) -> None:
    net = image(2, 6, 4, 5) + image(2, 6, 4, 5, name="more")
    net += layer("Concat", "", "data more", "channels")
    net += layer("Concat", "concat_param { axis: -1 }", "data more", "columns")
    net += layer("Slice", "slice_param { slice_point: 1 slice_point: 3 }", top="one two three")
    net += layer("Slice", "slice_param { axis: 2 }", top="upper lower")
    net += layer("Split", top="copy other")
    for blob in ("one", "two", "three", "upper", "lower", "copy", "other"):  # no outputs in OpenCV
        net += layer("TanH", "", blob, f"tanh_{blob}")
    net += layer("Flatten", top="flat")
    net += layer("Flatten", "flatten_param { axis: 2 }", top="planes")
    net += layer("Flatten", "flatten_param { axis: 1 end_axis: 2 }", top="lines")
    net += layer("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 2 } }", top="pairs")
    net += layer("Reshape", "reshape_param { shape { dim: 3 dim: -1 } axis: 1 num_axes: 1 }", top="split")
    net += layer("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", top="permuted")
    net += layer("ShuffleChannel", "shuffle_channel_param { group: 3 }", top="shuffled")
    assert_matches_opencv(convert_net(net, {}, tmp_path))


@pytest.mark.parametrize("text", ["offset: 1 offset: 3", "axis: -2 offset: 2", "axis: 1 offset: 0"])
def test_crop(text: str, tmp_path: Path) -> None:
    net = image(2, 6, 8, 9) + image(2, 6, 4, 5, name="size")
    net += layer("Crop", f"crop_param {{ {text} }}", "data size")
    assert_matches_opencv(convert_net(net, {}, tmp_path))


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("shape { dim: 2 dim: 2 dim: 4 }", (2, 2, 4)),
        ("shape { dim: 2 dim: 4 } axis: 1", (2, 2, 4)),
        ("shape { dim: 2 dim: 4 } axis: -2", (2, 2, 4)),
        ("shape { dim: 1 } num_axes: 0", (1, 2, 8)),
        ("shape { dim: 1 } axis: 1 num_axes: 0", (2, 1, 8)),
        ("shape { dim: 1 } axis: -1 num_axes: 0", (2, 8, 1)),
        ("shape { dim: -1 }", (16,)),
    ],
)
def test_reshape_of_a_part(text: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    x = numbers(2, 8)
    conversion = convert_net(image(2, 8) + layer("Reshape", f"reshape_param {{ {text} }}"), {}, tmp_path)
    assert_matches(conversion, {"data": x}, [x.reshape(shape)])


def test_what_opencv_lacks(tmp_path: Path) -> None:
    net = image(2, 6, 4)
    net += layer("Tile", "tile_param { axis: -1 tiles: 3 }", top="tiled")
    net += layer("Slice", "slice_param { slice_dim: 2 }", top="left right")
    net += layer("Permute", "permute_param { order: 1 }", top="first")
    net += layer("Flatten", "flatten_param { axis: 0 end_axis: 1 }", top="rows")
    net += layer("Concat", "concat_param { concat_dim: 2 }", "data data", "doubled")
    x = numbers(2, 6, 4)
    wanted = [np.tile(x, (1, 1, 3)), x[..., :2], x[..., 2:], x.transpose(1, 0, 2), x.reshape(12, 4)]
    wanted.append(np.concatenate([x, x], axis=2))
    assert_matches(convert_net(net, {}, tmp_path), {"data": x}, wanted)


def test_silence_keeps_a_blob_from_being_an_output(tmp_path: Path) -> None:
    net = image(1, 4) + layer("Slice", top="kept dropped")
    net += 'layer { name: "hush" type: "Silence" bottom: "dropped" }'
    x = numbers(1, 4)
    assert_matches(convert_net(net, {}, tmp_path), {"data": x}, [x[:, :2]])


@pytest.mark.parametrize(
    ("kind", "text", "bottoms", "tops", "message"),
    [
        ("Slice", "", "data", "a b c d", r"cuts 6 at \[\] into 4 tops"),
        ("Slice", "slice_param { slice_point: 9 }", "data", "a b", r"cuts 6 at \[9\]"),
        ("Reshape", "reshape_param { shape { dim: 7 dim: -1 } }", "data", "a", "which holds 48 numbers"),
        ("Reshape", "reshape_param { shape { dim: 0 dim: 0 dim: 0 dim: 0 } }", "data", "a", "does not have"),
        ("Reshape", "reshape_param { axis: 9 }", "data", "a", "the axes 9 to 3"),
        ("Crop", "crop_param { axis: 1 }", "small data", "a", "which is beyond its end"),
        ("Crop", "crop_param { axis: 1 offset: 1 offset: 1 offset: 1 }", "data small", "a", "has 3 offset"),
        ("ShuffleChannel", "shuffle_channel_param { group: 4 }", "data", "a", "6 channels in 4 groups"),
    ],
)
def test_what_does_not_fit_is_named_with_its_layer(
    kind: str, text: str, bottoms: str, tops: str, message: str, tmp_path: Path
) -> None:
    net = image(2, 6, 4) + image(2, 2, 2, name="small") + layer(kind, text, bottoms, tops, name="bad")
    with pytest.raises(ModelError, match=rf"layer 'bad' \({kind}\): .*{message}"):
        convert_net(net, {}, tmp_path)
