"""What the processor has for products of int8: it decides how ONNX Runtime must be told to sum them."""

import platform
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_X86 = frozenset({"x86_64", "amd64", "i386", "i686"})
_EXACT = frozenset({"avx512_vnni", "avx_vnni"})
"""Instructions, as Linux names them, whose products of bytes are summed in 32 bits. What has AMX has them, too."""


@cache
def sums_bytes_exactly(machine: str | None = None, cpuinfo: Path = _CPUINFO) -> bool:
    """Say whether sums of products of unsigned and signed bytes are exact by themselves on this processor.

    An x86 processor without VNNI cuts pairs of them off at sixteen bits. So does, as far as is known, one of which
    nothing can be read.
    """
    if (machine or platform.machine()).lower() not in _X86:
        return True
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    flags = [set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")]
    return bool(flags) and all(_EXACT & one for one in flags)
