"""What values were called before a tool rounded them."""

from __future__ import annotations

import pytest

from knight.qdq.names import real_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv1_quantized", "conv1"),
        ("/layer/Conv_output_0_quantized", "/layer/Conv_output_0"),
        ("X_QuantizeLinear_Output", "X"),
        ("X_DequantizeLinear_Output", "X"),
        ("X_DequantizeLinear_Output_3", "X"),
        ("X_QuantizeLinear_Input", "X"),
        ("X_DequantizeLinear", "X"),
        ("X_convert_QuantizeLinear_Output", "X"),
        ("X_convert_clone_DequantizeLinear_Output", "X"),
        ("X_QuantizeLinear_output", "X"),
        ("445quantized", "445"),  # ONNX Runtime's Split
        ("unquantized", "unquantized"),
        ("dequantized", "dequantized"),
        ("wide_integers", "wide"),
        ("y_before_quantization", "y"),
        ("y_before_quantization_2", "y"),
        ("q_output_conv", "conv"),
        ("dq_output_conv", "conv"),
        ("conv_quantized_DequantizeLinear_output", "conv"),
        ("conv_1", "conv_1"),
        ("/net/DequantizeLinear_output_0", "/net/DequantizeLinear_output_0"),
        ("_quantized", "_quantized"),
        ("", ""),
    ],
)
def test_real_name(name: str, expected: str) -> None:
    assert real_name(name) == expected
