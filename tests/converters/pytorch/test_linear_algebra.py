"""Products of vectors and matrices of every rank."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.converters.pytorch.nets import check


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 4), (4, 3)],
        [(2, 5, 4), (4, 3)],
        [(2, 5, 4), (4,)],
        [(4,), (4,)],
        [(4,), (4, 3)],
        [(4,), (2, 4, 3)],
        [(2, 1, 5, 4), (3, 4, 2)],
        [(2, 3, 5, 4), (2, 3, 4, 2)],
    ],
)
def test_products_of_all_ranks(shapes: Sequence[Sequence[int]]) -> None:
    left, right = (normal(*shape) for shape in shapes)
    check(lambda x, y: [x @ y, torch.matmul(x, y), x.matmul(y)], left, right, dynamic=False)
    if len(shapes[0]) > 1 and len(shapes[1]) < 4:
        check(lambda x: x @ right, left)


def test_products_by_name() -> None:
    def calls(x: Tensor, y: Tensor) -> list[Tensor]:
        m, n, v = x[0], y[0], x[0, 0]
        return [
            torch.mm(m, n),
            m.mm(n),
            torch.bmm(x, y),
            x.bmm(y),
            torch.mv(m, v),
            m.mv(v),
            torch.dot(v, v),
            v.dot(v),
            torch.inner(m, m),
            torch.inner(x, v),
            torch.outer(v, n[:, 0]),
            torch.ger(v, v),
            torch.linalg.multi_dot([m, n, m]),
            torch.chain_matmul(m, n),
            torch.vdot(v, v),
            torch.linalg.vecdot(x, x),
            torch.kron(m[:2], n[:2]),
            torch.tensordot(x, n, dims=1),
            torch.tensordot(x, n, dims=([2], [0])),
            torch.trace(m @ n),
        ]

    check(calls, normal(2, 3, 4), normal(2, 4, 3))


def test_products_with_sums() -> None:
    def calls(x: Tensor, y: Tensor) -> list[Tensor]:
        m, n = x[0], y[0]
        bias = torch.arange(3.0)
        return [
            torch.addmm(bias, m, n),
            torch.addmm(m[:, :3], m, n, beta=0.5, alpha=2),
            m[:, :3].addmm(m, n),
            torch.baddbmm(bias, x, y),
            torch.baddbmm(x[:, :, :3], x, y, beta=0.5, alpha=2),
            torch.addmv(bias, m, m[0], alpha=0.5),
            torch.addbmm(x[0, :, :3], x, y),
            torch.addr(m[:, :3], m[0, :3], bias),
            F.linear(x, y[0].T),
            F.linear(x, y[0].T, bias),
            F.linear(x[0, 0], y[0].T, bias),
        ]

    check(calls, normal(2, 3, 4), normal(2, 4, 3), dynamic=False)


def test_einsum() -> None:
    def calls(x: Tensor, y: Tensor) -> list[Tensor]:
        return [
            torch.einsum("bij,bjk->bik", x, y),
            torch.einsum("bij,bjk", x, y),
            torch.einsum("b i j , b j k -> b k i", [x, y]),
            torch.einsum("...ij,...jk->...ik", x, y),
            torch.einsum("bij->bji", x),
            torch.einsum("bij->b", x),
            torch.einsum("bij,bij->bi", x, x),
            torch.einsum("ij,k->ijk", x[0], y[0, 0]),
            torch.einsum("bii->bi", x[:, :, :3]),
            torch.einsum("bij,bjk,bkl->bil", x, y, x),
        ]

    check(calls, normal(2, 3, 4), normal(2, 4, 3))


def test_a_plain_einsum_is_a_product() -> None:
    """Runtimes quantize MatMul, not Einsum."""
    model = check(lambda x, y: torch.einsum("bhid,bhjd->bhij", x, y), normal(2, 2, 3, 4), normal(2, 2, 5, 4))
    assert "MatMul" in [node.op_type for node in model.graph]
    assert "Einsum" not in [node.op_type for node in model.graph]


def test_forms_of_two_vectors() -> None:
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.form = nn.Bilinear(4, 5, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.form(x, y)

    check(Net(), normal(2, 4), normal(2, 5))
    check(Net(), normal(2, 3, 4), normal(2, 3, 5))


def test_distances_and_crosses() -> None:
    def calls(x: Tensor, y: Tensor) -> list[Tensor]:
        return [
            torch.cdist(x, y),
            torch.cdist(x, y, p=1.0),
            torch.cdist(x, y, p=3.0),
            torch.cross(x, x.flip(1), dim=1),
            torch.cross(x, x.flip(1), dim=-1),
            torch.cross(x, x * 2 + 1),
            torch.linalg.cross(x, x.flip(0)),
        ]

    check(calls, normal(2, 3, 3), normal(2, 4, 3), dynamic=False)


def test_a_linear_layer_is_a_gemm() -> None:
    model = check(nn.Linear(4, 3), normal(2, 4))
    assert [node.op_type for node in model.graph] == ["Gemm"]
