"""The batch is left open where the graph does not depend on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from knight.converters import Source
from knight.converters._builder import shape_of
from knight.converters.caffe import converter
from knight.listener import SILENT
from tests.converters.caffe.nets import (
    Heard,
    assert_matches_opencv,
    convert_net,
    image,
    layer,
    numbers,
    run,
    write_net,
)

FC = layer("InnerProduct", "inner_product_param { num_output: 2 bias_term: false }", top="fc")


def ends(model: ir.Model) -> list[tuple[int | str | None, ...] | None]:
    return [shape_of(value) for value in (*model.graph.inputs, *model.graph.outputs)]


def test_a_net_of_any_batch_is_open(tmp_path: Path) -> None:
    net = image(10, 3, 4, 4) + layer("Pooling", "pooling_param { pool: AVE kernel_size: 2 }", top="pool")
    net += layer("Reshape", "reshape_param { shape { dim: 0 dim: 3 dim: -1 } }", "pool", "rows")
    heard = Heard()
    conversion = convert_net(net + FC, {"fc": [numbers(2, 48)]}, tmp_path, heard)
    assert ends(conversion.model) == [("batch", 3, 4, 4), ("batch", 3, 9), ("batch", 2)]
    assert heard.details == ["the batch of 10 in the prototxt is left open"]
    assert_matches_opencv(conversion)


def test_a_batch_that_a_layer_names_stays(tmp_path: Path) -> None:
    heard = Heard()
    net = image(2, 6) + layer("Reshape", "reshape_param { shape { dim: 2 dim: 3 dim: 2 } }")
    assert ends(convert_net(net, {}, tmp_path, heard).model) == [(2, 6), (2, 3, 2)]
    (said,) = heard.details
    assert said.startswith("the batch of 2 stays fixed, as in the prototxt: with another, layer 'out'")


def test_a_batch_that_goes_into_the_graph_or_out_of_the_first_axis_stays(tmp_path: Path) -> None:
    for text, shape in (
        (layer("Reduction"), ()),
        (layer("Flatten", "flatten_param { axis: 0 end_axis: 1 }"), (6, 4)),
        (layer("Slice", "slice_param { axis: 0 }", top="out left"), (1, 3, 4)),
        (layer("Reshape", "reshape_param { shape { dim: 1 dim: -1 dim: 4 } }"), (1, 6, 4)),
    ):
        assert ends(convert_net(image(2, 3, 4) + text, {}, tmp_path).model)[:2] == [(2, 3, 4), shape]


def test_inputs_of_different_first_dimensions_stay(tmp_path: Path) -> None:
    net = image(4, 3) + image(2, 3, name="more") + layer("Concat", "concat_param { axis: 0 }", "data more")
    assert ends(convert_net(net, {}, tmp_path).model) == [(4, 3), (2, 3), (6, 3)]


def test_the_batch_of_is_is_kept(tmp_path: Path) -> None:
    source = write_net(image(10, 3) + FC, {"fc": [numbers(2, 3)]}, tmp_path)
    fixed = converter.convert(Source(source.model, source.weights, input_shapes=((4, 3),)), SILENT)
    assert ends(fixed.model) == [(4, 3), (4, 2)]
    got = run(fixed, {"data": np.ones((4, 3), np.float32)})["fc"]
    np.testing.assert_allclose(got, np.ones((4, 3)) @ numbers(2, 3).T, rtol=1e-5)


def test_minus_one_leaves_the_batch_open(tmp_path: Path) -> None:
    """As the file does; in other places it stands for the file's own size."""
    source = write_net(image(10, 3) + FC, {"fc": [numbers(2, 3)]}, tmp_path)
    for shape in ((-1, 3), (-1, -1)):
        opened = converter.convert(Source(source.model, source.weights, input_shapes=(shape,)), SILENT)
        got = run(opened, {"data": np.ones((7, 3), np.float32)})["fc"]
        np.testing.assert_allclose(got, np.ones((7, 3)) @ numbers(2, 3).T, rtol=1e-5)
    fixed = converter.convert(Source(source.model, source.weights, input_shapes=((4, -1),)), SILENT)
    assert ends(fixed.model) == [(4, 3), (4, 2)]
