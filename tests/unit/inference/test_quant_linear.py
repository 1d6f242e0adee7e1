"""Matrices in eight and four bits: what they lose, and that a row's result never depends on its batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.quant import arithmetic
from inference.quant.linear import FEW, Halves, Int4Linear, Int8Linear, order_is_known


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Matrices this small cost more in handing them to threads than in computing them."""


def layer(bits, weight, *, dtype=torch.float32, bias=None):
    rows, columns = weight.shape
    if bits == 8:
        made = Int8Linear(columns, rows, bias=bias is not None)
        made.weight, made.weight_scale = arithmetic.to_int8(weight)
        wide = arithmetic.from_int8(made.weight, made.weight_scale)
    else:
        made = Int4Linear(columns, rows, bias=bias is not None)
        made.weight, made.weight_scale, made.weight_zero = arithmetic.to_int4(weight)
        wide = arithmetic.from_int4(made.weight, made.weight_scale, made.weight_zero)
        made.prepare(dtype)
    if bias is not None:
        made.bias = torch.nn.Parameter(bias)
    return made, wide


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("bits", "most"), [(8, 0.01), (4, 0.09)])
def test_a_matrix_comes_back_within_its_precision(bits, most):
    weight = random(96, 256)
    _, wide = layer(bits, weight)
    assert ((wide - weight).norm() / weight.norm()).item() < most


@pytest.mark.parametrize("weight", [torch.zeros(16, 64), torch.full((16, 64), 0.5), torch.full((16, 64), -1e-30)])
def test_matrices_without_a_range_stay_finite_and_near(weight):
    for bits in (8, 4):
        _, wide = layer(bits, weight)
        assert torch.allclose(wide, weight, rtol=1e-2, atol=1e-30)


def test_scales_in_eight_bits_lose_nothing_in_bfloat16_and_clip_nothing():
    weight = random(300, 64) * torch.logspace(-20, 4, 300)[:, None]
    codes, scale = arithmetic.to_int8(weight)
    assert torch.equal(scale.to(torch.bfloat16).float(), scale)
    largest = weight.abs().amax(dim=1)
    assert (codes.float().abs().amax(dim=1) * scale - largest).abs().div(largest).max() < 1 / 127


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=64, max_size=64))
def test_no_value_is_off_by_more_than_its_step(values):
    weight = torch.tensor([values])
    codes, scale = arithmetic.to_int8(weight)
    assert (arithmetic.from_int8(codes, scale) - weight).abs().max() <= scale.max() * 0.5001
    packed, scale, zero = arithmetic.to_int4(weight)
    back = arithmetic.from_int4(packed, scale, zero)
    assert torch.isfinite(back).all()
    # The squared error is never worse than with sixteen steps over the whole range (and their bf16 rounding).
    widest = (weight.max() - weight.min()) / 15
    assert (back - weight).square().mean().sqrt() <= widest * 0.5 + weight.abs().max() * 2**-7


def test_codes_are_packed_and_unpacked():
    codes = torch.arange(16, dtype=torch.uint8).repeat(4, 8)
    assert torch.equal(arithmetic.unpack(arithmetic.pack(codes)), codes)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("rows", "columns"), [(128, 192), (72, 64), (2048, 128)])
@pytest.mark.parametrize("count", [1, 5, FEW, FEW + 1, 130, 600])
def test_products_are_those_of_the_wide_matrix(bits, rows, columns, count):
    made, wide = layer(bits, random(rows, columns), bias=random(rows, seed=1))
    given_rows = random(2, count, columns, seed=2)[:1]
    expected = given_rows.double() @ wide.double().t() + made.bias.double()
    found = made(given_rows)
    assert found.shape == (1, count, rows)
    assert ((found.double() - expected).norm() / expected.norm()).item() < 5e-5


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_is_the_same_bit_by_bit_whoever_else_is_there(bits, dtype):
    made, _ = layer(bits, random(320, 256), dtype=dtype)
    rows = random(FEW, 256, seed=3)
    rows[2], rows[5, 7] = rows[2] * 1e4, 3e4
    whole = made(rows.to(dtype))
    for count in (*range(1, 18), 31, 33, 63):
        assert torch.equal(made(rows[:count].to(dtype)), whole[:count]), count


def test_activations_are_left_alone_and_cut_once_for_layers_that_share_them():
    halves = Halves()
    rows = random(3, 64)
    before = rows.clone()
    low_high, scale = halves.of(rows)
    assert torch.equal(rows, before)
    assert halves.of(rows)[0] is low_high
    assert halves.of(before)[0] is not low_high
    low, high = low_high.view(64, 2, 3).float().unbind(1)
    assert ((256 * high + low).t() * scale[:, None] - rows).abs().max() <= rows.abs().max() / 60_000


def test_a_kernel_of_another_order_is_not_read_as_if_it_were_known(monkeypatch):
    assert isinstance(order_is_known(), bool)
    kernel = torch.ops.aten._convert_weight_to_int4pack_for_cpu
    monkeypatch.setattr(
        torch.ops.aten, "_convert_weight_to_int4pack_for_cpu", lambda codes, tiles: kernel(codes.flip(0), tiles)
    )
    assert not order_is_known()
