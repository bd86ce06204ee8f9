"""The texts of symbolic sizes in a serialized program: arithmetic on symbols and numbers, nothing else.

torch.export.load hands them to sympy.sympify, which evaluates them as Python. What is loaded is therefore the
text as it was parsed here, written anew.
"""

from __future__ import annotations

import ast
import re

_SYMBOL = re.compile(r"[a-z]{1,4}\d+|int_oo|oo|zoo|nan|true|false", re.ASCII)
_FUNCTIONS = frozenset(
    {
        "Abs",
        "Add",
        "And",
        "BooleanFalse",
        "BooleanTrue",
        "CeilDiv",
        "CeilToInt",
        "CleanDiv",
        "Eq",
        "Equality",
        "FloatPow",
        "FloatTrueDiv",
        "FloorDiv",
        "FloorToInt",
        "Ge",
        "GreaterThan",
        "Gt",
        "Identity",
        "IntTrueDiv",
        "Integer",
        "IsNonOverlappingAndDenseIndicator",
        "Le",
        "LessThan",
        "Lt",
        "Max",
        "Min",
        "Mod",
        "ModularIndexing",
        "Mul",
        "Ne",
        "Not",
        "Or",
        "Pow",
        "PowByNatural",
        "PythonMod",
        "Rational",
        "RoundDecimal",
        "RoundToInt",
        "StrictGreaterThan",
        "StrictLessThan",
        "Symbol",
        "ToFloat",
        "TruncToFloat",
        "TruncToInt",
        "Unequality",
        "Where",
        "ceiling",
        "floor",
    }
)
"""Of sympy and of torch's own arithmetic of sizes."""
_POWERS = 3
_LARGEST_POWER = 8
_LONGEST = 10_000


def understood(text: str) -> str | None:
    """A size in sympy's notation as it is understood here; None for more than arithmetic."""
    if len(text) > _LONGEST or not text.isascii():
        return None
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    nodes = list(ast.walk(tree.body))
    powers = [node for node in nodes if _is_power(node)]
    if not all(map(_is_symbolic, nodes)) or len(powers) > _POWERS or not all(map(_is_small, powers)):
        return None
    return ast.unparse(tree)


def _is_symbolic(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS or _SYMBOL.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _SYMBOL.fullmatch(node.value) is not None
        return isinstance(node.value, (bool, float)) or (
            isinstance(node.value, int) and node.value.bit_length() <= 64
        )
    arithmetic = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.operator, ast.unaryop, ast.cmpop)
    return isinstance(node, (*arithmetic, ast.keyword, ast.Load))


def _is_power(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, (ast.Pow, ast.LShift))
    names = ("Pow", "PowByNatural", "FloatPow")
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _is_small(power: ast.AST) -> bool:
    """Whether the exponent is a small number."""
    exponent: ast.AST | None = None
    if isinstance(power, ast.BinOp):
        exponent = power.right
    elif isinstance(power, ast.Call) and power.args:
        exponent = power.args[-1]
    if isinstance(exponent, ast.Call) and len(exponent.args) == 1:  # Integer(2)
        exponent = exponent.args[0]
    if isinstance(exponent, ast.UnaryOp):
        exponent = exponent.operand
    value = exponent.value if isinstance(exponent, ast.Constant) else None
    return isinstance(value, (int, float)) and abs(value) <= _LARGEST_POWER
