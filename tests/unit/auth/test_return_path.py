import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.return_path import safe_return_path


@pytest.mark.parametrize("path", ["/", "/chat", "/chat/0190?x=1&y=2#z", "/console/turns?q=%E4%BD%A0"])
def test_our_own_paths_are_kept(path: str) -> None:
    assert safe_return_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        None, "", "chat", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example", "https://evil.example", "javascript:alert(1)", "/a\\b", " /x", "/ x",
        "/\x00", "/é", "http:/x",
        "/" + "a" * 2000, "/auth/login", "/auth/logout", "/dev-provider/authorize",
    ],
)  # fmt: skip
def test_anything_else_leads_home(path: str | None) -> None:
    assert safe_return_path(path) == "/"


@given(st.text(alphabet="/\\:@.?#a\t\n%;\u2028", max_size=12))
def test_it_always_stays_here(wanted: str) -> None:
    path = safe_return_path(wanted)
    assert path.startswith("/")
    assert not path.startswith("//")
    assert "\\" not in path
