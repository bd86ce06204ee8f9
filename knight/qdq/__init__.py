"""Quantized models, whoever made them: what they compute, and with which scales."""
