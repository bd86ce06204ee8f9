"""One way in which a chip quantizes: widths of weights and activations that go together, and their facts."""

from __future__ import annotations

from dataclasses import dataclass

from knight.types import QuantSpec


@dataclass(frozen=True)
class Scheme:
    """A width of weights with one of activations, such as w8a8.

    activation_*, weight_*: signed or unsigned; symmetric or with zero points; narrow (weights) leaves out the
    smallest integer; per_channel (weights): a scale per output channel, else one per tensor; block_size
    (weights): elements that share one scale, None for no blocks. Unsigned symmetric weights stand around the
    middle of their integers (128 of uint8).
    """

    name: str
    weight_bits: int
    activation_bits: int
    activation_signed: bool = True
    activation_symmetric: bool = True
    weight_signed: bool = True
    weight_symmetric: bool = True
    weight_narrow: bool = False
    weight_per_channel: bool = True
    weight_block_size: int | None = None

    def activation_spec(self) -> QuantSpec:
        """How an activation is quantized."""
        return QuantSpec(self.activation_bits, self.activation_signed, self.activation_symmetric)

    def weight_spec(self, axis: int | None, bits: int | None = None) -> QuantSpec:
        """How a weight is quantized, with `axis` its output channels.

        Where the scheme has blocks, `axis` is the one that they lie along: that which the operator sums over.
        bits: another width than the scheme's own, such as one bit less for --reduce-range.
        """
        axis = axis if self.weight_per_channel else None
        return QuantSpec(
            self.weight_bits if bits is None else bits,
            self.weight_signed,
            self.weight_symmetric,
            axis,
            self.weight_narrow,
            centred=self.weight_symmetric and not self.weight_signed,
            block_size=None if axis is None else self.weight_block_size,
        )
