"""``knight chips``: list the chips and runtimes, or show one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from knight.cli._summary import aligned

if TYPE_CHECKING:
    from knight.targets import Scheme, Target

EXAMPLE = """\b
Examples:
  knight chips
  knight chips TX5368AV200
"""


@click.command(epilog=EXAMPLE)
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the chips and runtimes that Knight quantizes for; with NAME (or a .toml file) show one of them."""
    from knight.targets import families, load_target

    lines = _overview(map(load_target, families())) if name is None else _details(load_target(name))
    for line in lines:
        click.echo(line)
    if name is None:
        click.echo(_this_cpu())


def _this_cpu() -> str:
    """Which of the two targets for CPUs the machine at hand wants."""
    from knight.host import cpu_name
    from knight.runner import saturates

    if saturates():
        return (
            f"This CPU ({cpu_name()}) has no VNNI: ONNX Runtime's uint8 x int8 kernels saturate here. "
            f"onnxruntime-avx2 is made for such CPUs."
        )
    return f"This CPU ({cpu_name()}) runs what is made for onnxruntime without saturation."


def _overview(targets: Iterable[Target]) -> Iterator[str]:
    rows = [("Family", "Schemes", "Activations", "Weights", "Shapes", "Operators", "Chips")]
    for target in targets:
        rows.append(
            (
                target.name,
                " ".join(scheme.name for scheme in target.schemes),
                _activations(target.schemes[0]),
                _weights(target.schemes[0]),
                "static" if target.static_shapes else "dynamic",
                str(len(target.integer_operators)),
                " ".join(target.chips) or "-",
            )
        )
    yield from aligned(rows)


def _details(target: Target) -> Iterator[str]:
    yield f"{target.chip or target.name}: {target.description}"
    yield f"  family       {target.name}"
    yield f"  chips        {' '.join(target.chips) or '-'}"
    for scheme in target.schemes:
        yield f"  {scheme.name:<11}  activations {_activations(scheme)}; weights {_weights(scheme)}"
    for operator, names in sorted(target.widths.items()):
        yield f"  {operator:<11}  only {' '.join(names)}"
    yield f"  shapes       {'static' if target.static_shapes else 'dynamic'}"
    yield f"  outputs      {'fixed-point numbers held in float' if target.fixed_point_outputs else 'float'}"
    if target.multiplier_bits:
        low, high = target.shift_range
        yield f"  requantized  by a {target.multiplier_bits}-bit multiplier and a shift of {low} to {high}"
    yield f"  source       {target.source}"
    groups = {
        "Run as integers": target.anchors,
        "Run as integers beside those": target.followers,
        "Move or select values": target.keep_scale,
        "Run as software, in float": target.software,
        "Recognised from their parts": target.recognise,
    }
    for title, operators in groups.items():
        if operators:
            yield f"{title} ({len(operators)}):"
            yield from wrap(" ".join(sorted(operators)), 100, initial_indent="  ", subsequent_indent="  ")


def _activations(scheme: Scheme) -> str:
    return _numbers(scheme.activation_signed, scheme.activation_symmetric)


def _weights(scheme: Scheme) -> str:
    blocks = f", in blocks of {scheme.weight_block_size}" if scheme.weight_block_size else ""
    kind = _numbers(scheme.weight_signed, scheme.weight_symmetric)
    return f"{kind}, per {'channel' if scheme.weight_per_channel else 'tensor'}{blocks}"


def _numbers(signed: bool, symmetric: bool) -> str:
    return f"{'signed' if signed else 'unsigned'}, {'symmetric' if symmetric else 'zero point'}"
