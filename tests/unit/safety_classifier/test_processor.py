"""Which processors sum products of bytes exactly by themselves; `test_exact_sums` says that ours does as it is told."""

import pytest

from safety.classifier.processor import sums_bytes_exactly

ZEN_3 = "sse4_2 avx avx2 fma bmi2"
CASCADE_LAKE = "avx2 avx512f avx512bw avx512_vnni"
ALDER_LAKE = "avx2 avx_vnni"
GRANITE_RAPIDS = "avx2 avx512f avx512_vnni avx_vnni amx_bf16 amx_tile amx_int8"


@pytest.mark.parametrize(
    ("machine", "processors", "exact"),
    [
        ("x86_64", [ZEN_3, ZEN_3], False),
        ("AMD64", [ZEN_3], False),
        ("x86_64", [CASCADE_LAKE, CASCADE_LAKE], True),
        ("x86_64", [ALDER_LAKE], True),
        ("x86_64", [GRANITE_RAPIDS], True),
        ("x86_64", [CASCADE_LAKE, ZEN_3], False),
        ("x86_64", [], False),
        ("aarch64", [], True),
    ],
)
def test_processors(tmp_path, machine, processors, exact):
    file = tmp_path / "cpuinfo"
    file.write_text("\n".join(f"processor\t: {nth}\nflags\t\t: {flags}\n" for nth, flags in enumerate(processors)))
    assert sums_bytes_exactly(machine, file) is exact


def test_a_processor_of_which_nothing_can_be_read_is_told_to_sum_exactly(tmp_path):
    assert not sums_bytes_exactly("x86_64", tmp_path / "none")
