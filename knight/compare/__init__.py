"""Which layer is guilty: a float and a quantized model side by side, value by value."""
