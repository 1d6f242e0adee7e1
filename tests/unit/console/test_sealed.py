import pytest

from gateway.console.sealed import Sealer

SEALER = Sealer(bytes(32))


@pytest.mark.parametrize("text", ["搬家 secret", "x" * 3000, "\ud800"])
def test_what_was_sealed_opens_for_its_owner_and_purpose_alone(text):
    sealed = SEALER.seal("carol", "find", text)
    assert "secret" not in sealed
    assert SEALER.open("carol", "find", sealed) == text
    assert SEALER.open("dora", "find", sealed) == ""
    assert SEALER.open("carol", "case", sealed) == ""
    assert Sealer(b"1" * 32).open("carol", "find", sealed) == ""


@pytest.mark.parametrize("wrong", ["", "x", "=" * 40, "é" * 40, "A" * 100_000, "AAAA\0"])
def test_what_was_made_up_opens_nothing(wrong):
    assert SEALER.open("carol", "find", wrong) == ""
    assert SEALER.seal("carol", "find", "") == ""
