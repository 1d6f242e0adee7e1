"""Matrices in eight, four and sixteen bits: what they lose, and that a row's result never depends on its batch."""

import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.quant import arithmetic, int4, int8
from inference.quant.float16 import Float16Linear
from inference.quant.int4 import Int4Linear, panel_rows
from inference.quant.int8 import Halves, Int8Linear, kernel_is_exact
from inference.quant.linear import FEW
from inference.quant.precision import BFLOAT16, FLOAT16, FLOAT32


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Matrices this small cost more in handing them to threads than in computing them."""


def layer(bits, weight, *, precision=FLOAT32, bias=None):
    rows, columns = weight.shape
    if bits == 8:
        made = Int8Linear(columns, rows, bias=bias is not None)
        made.weight, made.weight_scale = arithmetic.to_int8(weight)
        wide = arithmetic.from_int8(made.weight, made.weight_scale)
    elif bits == 4:
        made = Int4Linear(columns, rows, bias=bias is not None)
        made.weight, made.weight_scale, made.weight_zero = arithmetic.to_int4(weight)
        wide = arithmetic.from_int4(made.weight, made.weight_scale, made.weight_zero)
    else:
        made = Float16Linear(columns, rows, bias=bias is not None)
        made.weight = weight.half()
        wide = made.weight.float()
    made.prepare(precision)
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


@pytest.mark.parametrize("bits", [16, 8, 4])
@pytest.mark.parametrize(("rows", "columns"), [(128, 192), (72, 64), (2048, 128)])
@pytest.mark.parametrize("count", [1, 5, FEW, FEW + 1, 130, 600])
def test_products_are_those_of_the_wide_matrix(bits, rows, columns, count):
    made, wide = layer(bits, random(rows, columns), bias=random(rows, seed=1))
    given_rows = random(2, count, columns, seed=2)[:1]
    expected = given_rows.double() @ wide.double().t() + made.bias.double()
    found = made(given_rows)
    assert found.shape == (1, count, rows)
    assert ((found.double() - expected).norm() / expected.norm()).item() < 5e-5


@pytest.mark.parametrize(
    ("bits", "precision"),
    [(16, FLOAT16), *((bits, precision) for bits in (8, 4) for precision in (FLOAT32, BFLOAT16, FLOAT16))],
)
def test_a_row_is_the_same_bit_by_bit_whoever_else_is_there(bits, precision):
    made, _ = layer(bits, random(320, 256), precision=precision)
    rows = random(FEW, 256, seed=3)
    rows[2], rows[5, 7] = rows[2] * 1e4, 3e4
    rows = rows.to(precision.activations)
    whole = made(rows)
    assert whole.dtype == precision.activations
    for count in (*range(1, 18), 31, 33, 63):
        assert torch.equal(made(rows[:count]), whole[:count]), count


@pytest.mark.parametrize("bits", [16, 8])
def test_a_prompt_is_multiplied_bit_by_bit_as_decoding_is_where_activations_are_float32(bits, monkeypatch):
    """In eight bits by oneDNN's kernel; without VNNI that cuts sums off, yet every row's alike."""
    monkeypatch.setattr(int8, "kernel_is_exact", lambda: True)
    made, _ = layer(bits, random(320, 256), precision=FLOAT16)
    rows = random(600, 256, seed=3)
    whole = made(rows)
    for some in (slice(0, 1), slice(255, 257), slice(300, 300 + FEW), slice(590, 600)):
        assert torch.equal(made(rows[some]), whole[some])


def test_four_bits_take_activations_as_bfloat16_where_float32_would_be_far_slower():
    made, wide = layer(4, random(128, 192), precision=FLOAT16)
    rows = random(3, 192, seed=2)
    expected = rows.double() @ wide.double().t()
    assert 1e-4 < ((made(rows).double() - expected).norm() / expected.norm()).item() < 5e-3
    many = random(130, 192, seed=2)
    expected = many.double() @ wide.double().t()
    assert ((made(many).double() - expected).norm() / expected.norm()).item() < 5e-5, "a prompt loses nothing"


@pytest.mark.parametrize(("precision", "most"), [(FLOAT32, 5e-6), (FLOAT16, 5e-3), (BFLOAT16, 5e-3)])
def test_eight_bits_where_the_kernel_is_not_exact(precision, most, monkeypatch):
    """A processor without VNNI: weights widened in registers, each row by itself, and wide weights for a prompt."""
    monkeypatch.setattr(int8, "kernel_is_exact", lambda: False)
    weight, rows = random(320, 256), random(130, 256, seed=3).to(precision.activations)
    made, wide = layer(8, weight, precision=precision)
    assert torch.equal(made.weight, arithmetic.to_int8(weight)[0]), "weights stay in their own order"
    few = made(rows[:FEW])
    assert few.dtype == precision.activations
    expected = rows.double() @ wide.double().t()
    assert ((few.double() - expected[:FEW]).norm() / expected[:FEW].norm()).item() < most
    for count in (1, 2, 3, 5, 8, 33):
        assert torch.equal(made(rows[:count]), few[:count]), count
    loss = 1e-6 if precision.activations == torch.float32 else most
    assert ((made(rows).double() - expected).norm() / expected.norm()).item() < loss, "a prompt loses nothing more"


@pytest.mark.parametrize("found", [torch.zeros(3, 3), RuntimeError("no such kernel")])
def test_a_kernel_that_cuts_sums_off_or_is_not_there_is_found_out(monkeypatch, found):
    def product(*_):
        if isinstance(found, RuntimeError):
            raise found
        return found

    monkeypatch.setattr(int8, "_scaled_product", product)
    assert not kernel_is_exact.__wrapped__()


def test_activations_are_left_alone_and_cut_once_for_layers_that_share_them():
    halves = Halves()
    halves.readers = 3
    rows = random(3, 64)
    before = rows.clone()
    low_high, scale = halves.of(rows)
    assert torch.equal(rows, before)
    assert halves.of(rows)[0] is low_high
    assert halves.of(before)[0] is not low_high
    low, high = low_high.float() - 128
    assert ((256 * high + low) * scale[:, None] - rows).abs().max() <= rows.abs().max() / 60_000


def test_nothing_of_activations_is_kept_when_all_layers_that_share_them_have_read():
    halves = Halves()
    layers = [Int8Linear(64, 32, bias=False, halves=halves) for _ in range(2)]
    assert halves.readers == len(layers)
    rows = random(3, 64)
    kept = weakref.ref(halves.of(rows)[0])
    assert kept() is not None
    halves.of(rows)
    assert kept() is None


def test_a_kernel_of_another_order_is_not_read_as_if_it_were_known(monkeypatch):
    kernel = torch.ops.aten._convert_weight_to_int4pack_for_cpu
    monkeypatch.setattr(
        torch.ops.aten, "_convert_weight_to_int4pack_for_cpu", lambda codes, tiles: kernel(codes.flip(0), tiles)
    )
    assert panel_rows.__wrapped__() is None


@pytest.mark.parametrize("panel", [64, 32])
def test_both_orders_of_four_bits_are_read_as_the_rows_they_are(panel, monkeypatch):
    """As kernels for vectors of 512 and of 256 bits pack them, whichever this processor has."""

    def packed(codes, _):
        low, high = codes.view(-1, 2, panel // 2, codes.shape[1]).to(torch.uint8).unbind(1)
        return (low | high << 4).transpose(1, 2).contiguous().view(codes.shape[0], -1)

    monkeypatch.setattr(torch.ops.aten, "_convert_weight_to_int4pack_for_cpu", packed)
    monkeypatch.setattr(int4, "panel_rows", panel_rows.__wrapped__)
    made, wide = layer(4, random(192, 128))
    rows = random(FEW + 6, 128, seed=2)
    assert made._panel == panel
    assert torch.allclose(made(rows), rows @ wide.t(), atol=1e-3)
