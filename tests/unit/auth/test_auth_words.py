from pathlib import Path

import pytest
from jinja2 import Environment, meta

from gateway.auth import messages
from gateway.auth.messages import CATALOGUE, preferred


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"), ("en-GB,zh;q=0.9", "en"), ("fr,de", "en"), ("zh-TW", "zh-CN"),
        ("fr, zh;q=0.2", "zh-CN"), ("en;q=0.1,zh;q=0.2", "zh-CN"), ("zh;q=x", "en"), (";;;,,,", "en"), ("zh;q=0", "en"),
    ],
)  # fmt: skip
def test_the_browser_chooses_the_language(header: str, language: str) -> None:
    assert preferred(header) == language


def test_both_languages_say_everything() -> None:
    assert CATALOGUE["en"].keys() == CATALOGUE["zh-CN"].keys()
    assert all(text.strip() for words in CATALOGUE.values() for text in words.values())


def test_templates_leave_no_text_untranslated() -> None:
    folder = Path(messages.__file__).parent / "templates"
    for file in folder.glob("*.html"):
        assert meta.find_undeclared_variables(Environment(autoescape=True).parse(file.read_text()))
