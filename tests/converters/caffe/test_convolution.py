"""Convolutions, inner products, and tables of words."""

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

CONVOLUTIONS = {
    "plain": ("num_output: 8 kernel_size: 3", (8, 6, 3, 3)),
    "padded": ("num_output: 8 kernel_size: 3 stride: 2 pad: 1", (8, 6, 3, 3)),
    "square": ("num_output: 4 kernel_size: 3 kernel_size: 2 pad: 1 pad: 0 stride: 1 stride: 2", (4, 6, 3, 2)),
    "oblong": (
        "num_output: 8 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 stride_h: 1 stride_w: 2 group: 2",
        (8, 3, 3, 1),
    ),
    "dilated": ("num_output: 4 kernel_size: 3 dilation: 2 pad: 2", (4, 6, 3, 3)),
    "depthwise": ("num_output: 6 kernel_size: 3 group: 6", (6, 1, 3, 3)),
}
DECONVOLUTIONS = {
    "doubled": ("num_output: 8 kernel_size: 4 stride: 2 pad: 1", (6, 8, 4, 4)),
    "bilinear": ("num_output: 6 kernel_size: 4 stride: 2 pad: 1 group: 6", (6, 1, 4, 4)),
    "grouped": ("num_output: 6 kernel_size: 3 group: 2", (6, 3, 3, 3)),
    "odd": ("num_output: 2 kernel_size: 3 stride: 3 pad: 1", (6, 2, 3, 3)),
}


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(
    ("kind", "cases"), [("Convolution", CONVOLUTIONS), ("Deconvolution", DECONVOLUTIONS)]
)
def test_kernels(
    kind: str, cases: dict[str, tuple[str, tuple[int, ...]]], biased: bool, tmp_path: Path
) -> None:
    net, blobs = image(2, 6, 11, 13), {}
    for seed, (top, (text, shape)) in enumerate(cases.items()):
        outputs = int(text.split()[1])
        net += layer(kind, f"convolution_param {{ {text} {'' if biased else 'bias_term: false'} }}", top=top)
        blobs[top] = [numbers(*shape, seed=seed), *([numbers(outputs, seed=99)] if biased else [])]
    assert_matches_opencv(convert_net(net, blobs, tmp_path))


def test_dilated_deconvolution(tmp_path: Path) -> None:
    """One number of the input paints the kernel, spread out."""
    weight = numbers(1, 1, 2, 2)
    net = image(1, 1, 1, 1) + layer(
        "Deconvolution", "convolution_param { num_output: 1 kernel_size: 2 dilation: 2 bias_term: false }"
    )
    wanted = np.zeros((1, 1, 3, 3))
    wanted[..., ::2, ::2] = 2 * weight
    feeds = {"data": np.full((1, 1, 1, 1), 2, np.float32)}
    assert_matches(convert_net(net, {"out": [weight]}, tmp_path), feeds, [wanted])


def test_several_bottoms_share_the_weights(tmp_path: Path) -> None:
    text = "convolution_param { num_output: 2 kernel_size: 1 bias_term: false }"
    net = image(1, 3, 2, 2) + image(1, 3, 4, 4, name="more")
    net += layer("Convolution", text, "data more", "one two", name="conv")
    weight, feeds = numbers(2, 3, 1, 1), {"data": numbers(1, 3, 2, 2), "more": numbers(1, 3, 4, 4)}
    wanted = [np.einsum("oc,nchw->nohw", weight[..., 0, 0], x) for x in feeds.values()]
    assert_matches(convert_net(net, {"conv": [weight]}, tmp_path), feeds, wanted)


def test_depthwise_convolution_of_forks_has_a_group_per_channel(tmp_path: Path) -> None:
    text = "convolution_param { num_output: 3 kernel_size: 1 bias_term: false }"
    weight, x = numbers(3, 1, 1, 1), numbers(1, 3, 4, 4)
    net = image(1, 3, 4, 4) + layer("ConvolutionDepthwise", text)
    assert_matches(
        convert_net(net, {"out": [weight]}, tmp_path), {"data": x}, [x * weight.reshape(1, 3, 1, 1)]
    )


def test_convolution_in_three_and_one_dimensions(tmp_path: Path) -> None:
    text = "convolution_param { num_output: 2 kernel_size: 2 bias_term: false }"
    net = image(1, 1, 3, 3, 3) + image(1, 1, 3, name="line")
    net += layer("Convolution", text, top="volume") + layer("Convolution", text, "line", "thin")
    blobs = {"volume": [np.ones((2, 1, 2, 2, 2))], "thin": [np.ones((2, 1, 2))]}
    feeds = {"data": numbers(1, 1, 3, 3, 3), "line": numbers(1, 1, 3)}
    x, line = feeds["data"][0, 0], feeds["line"][0, 0]
    sums = sum(x[a : a + 2, b : b + 2, c : c + 2] for a in (0, 1) for b in (0, 1) for c in (0, 1))
    wanted = [np.stack([sums] * 2)[None], np.stack([line[1:] + line[:-1]] * 2)[None]]
    assert_matches(convert_net(net, blobs, tmp_path), feeds, wanted)


def test_one_number_for_three_axes_is_one_for_each_in_opencv_too(tmp_path: Path) -> None:
    text = "convolution_param { num_output: 2 kernel_size: 2 stride: 2 pad: 1 }"
    net = image(1, 3, 5, 6, 7) + layer("Convolution", text)
    assert_matches_opencv(convert_net(net, {"out": [numbers(2, 3, 2, 2, 2), numbers(2)]}, tmp_path))


def test_inner_product(tmp_path: Path) -> None:
    text = "inner_product_param {{ num_output: 5 {} }}"
    net = image(2, 3, 4, 5)
    net += layer("InnerProduct", text.format(""), top="flat")
    net += layer("InnerProduct", text.format("bias_term: false"), "flat", "second")
    net += layer("InnerProduct", text.format("axis: 3"), top="last")
    net += layer("InnerProduct", text.format("axis: 2"), top="plane")
    blobs = {
        "flat": [numbers(5, 60), numbers(5)],
        "second": [numbers(5, 5)],
        "last": [numbers(5, 5), numbers(5)],
        "plane": [numbers(5, 20), numbers(5)],
    }
    assert_matches_opencv(convert_net(net, blobs, tmp_path))


def test_inner_product_transposed_and_of_everything(tmp_path: Path) -> None:
    net = image(2, 3, 4)
    net += layer("InnerProduct", "inner_product_param { num_output: 5 transpose: true }", top="turned")
    net += layer("InnerProduct", "inner_product_param { num_output: 5 axis: -1 transpose: true }", top="last")
    net += layer("InnerProduct", "inner_product_param { num_output: 5 axis: 0 bias_term: false }", top="all")
    turned, last, everything, bias = numbers(12, 5), numbers(4, 5), numbers(5, 24), numbers(5, seed=2)
    blobs = {"turned": [turned, bias], "last": [last, bias], "all": [everything]}
    x = numbers(2, 3, 4, seed=3)
    wanted = [x.reshape(2, 12) @ turned + bias, x @ last + bias, everything @ x.reshape(24)]
    assert_matches(convert_net(net, blobs, tmp_path), {"data": x}, wanted)


def test_embed(tmp_path: Path) -> None:
    net = image(2, 3) + layer("Embed", "embed_param { num_output: 4 input_dim: 7 }")
    table, bias = numbers(7, 4), numbers(4, seed=1)
    words = np.array([[0, 6, 3], [1, 1, 5]], np.float32)
    wanted = table[words.astype(int)] + bias
    assert_matches(convert_net(net, {"out": [table, bias]}, tmp_path), {"data": words}, [wanted])


@pytest.mark.parametrize(
    ("text", "blobs", "message"),
    [
        (
            "num_output: 4 kernel_size: 3",
            [(4, 5, 3, 3), (4,)],
            r"weight 0 has shape \(4, 5, 3, 3\), .*\(4, 6,",
        ),
        ("num_output: 4 kernel_size: 3", [(4, 6, 3, 3)], "has 1 weights in the caffemodel, .* wants 2"),
        ("num_output: 4", [(4, 6, 3, 3)], "has no kernel_size"),
        ("num_output: 4 kernel_size: 3 group: 4", [(4, 6, 3, 3)], "6 to 4 channels in 4 groups"),
        (
            "num_output: 4 kernel_size: 3 pad: 1 pad: 1 pad: 1",
            [(4, 6, 3, 3), (4,)],
            "3 numbers for pad, and 2 axes",
        ),
        ("num_output: 4 kernel_size: 3 axis: 2", [(4, 6, 3, 3)], "channels on axis 2"),
    ],
)
def test_what_does_not_fit_is_named_with_its_layer(
    text: str, blobs: list[tuple[int, ...]], message: str, tmp_path: Path
) -> None:
    net = image(1, 6, 9, 9) + layer("Convolution", f"convolution_param {{ {text} }}", top="conv7")
    with pytest.raises(ModelError, match=rf"layer 'conv7' \(Convolution\): .*{message}"):
        convert_net(net, {"conv7": [numbers(*shape) for shape in blobs]}, tmp_path)
