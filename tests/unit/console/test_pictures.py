"""The pictures in docs/screenshots: named in an index of each language, there, and small."""

import re

import pytest

from gateway.web.catalogue import load_catalogues
from tests.screenshots.__main__ import FOLDER
from tests.screenshots.pictures import LANGUAGES, STAFF, all_pictures, index, of_sections, who_sees

MOST_BYTES, MOST_TOGETHER = 75_000, 2_600_000


@pytest.mark.parametrize(("language", "name"), [("en", "README.md"), ("zh-CN", "README.zh-CN.md")])
def test_every_picture_of_an_index_is_there_and_small(language: str, name: str):
    named = re.findall(r"\]\(([\w.-]+\.webp)\)", (FOLDER / name).read_text())
    assert len(named) >= len(STAFF)
    assert all(one.endswith(f".{language}.webp") for one in named)
    for one in named:
        data = (FOLDER / one).read_bytes()
        assert data[:4] == b"RIFF", one
        assert len(data) <= MOST_BYTES, one


def test_no_picture_is_left_over_and_all_are_small_together():
    named = {
        one
        for name in ("README.md", "README.zh-CN.md")
        for one in re.findall(r"[\w.-]+\.webp", (FOLDER / name).read_text())
    }
    there = {path.name for path in FOLDER.glob("*.webp")}
    assert there == named
    assert sum((FOLDER / one).stat().st_size for one in there) <= MOST_TOGETHER


def test_every_section_has_a_picture_and_somebody_who_sees_it():
    catalogues = load_catalogues()
    for one in of_sections(catalogues):
        assert who_sees(f"/console/{one.name}") in ("carol", "sam", "ada")
    files = [one.file(language) for one in all_pictures(catalogues) for language in LANGUAGES]
    assert len(files) == len(set(files))
    for language in LANGUAGES:
        assert all(one.file(language) in index(catalogues, language) for one in all_pictures(catalogues))
