"""The frame of the console: navigation by role, words of every section, addresses and times."""

import datetime as dt

import pytest
from litestar import Request

from gateway.auth.access import ACCESS, RECORDED
from gateway.auth.principal import Principal, Role
from gateway.console.asked import local_moment, local_text
from gateway.console.sections import PARTS, SECTIONS, console_routes
from gateway.console.shell import address, console_page
from gateway.problems import BadRequestError
from gateway.settings import Settings
from gateway.web.catalogue import load_catalogues
from gateway.web.pages import TEMPLATES, make_pages, zone_named

SHANGHAI = zone_named("Asia/Shanghai")


def test_every_template_can_be_read(tmp_path):
    environment = make_pages(Settings(data_dir=tmp_path)).environment
    names = [path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.html")]
    assert len(names) > 10
    for name in names:
        environment.get_template(name)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.section.path)
def test_a_section_has_a_first_page_for_its_roles_words_and_an_icon(part, tmp_path):
    section = part.section
    first = [route for route in part.routes if section.path in route.paths and "GET" in route.http_methods]
    assert len(first) == 1
    assert set(first[0].opt[ACCESS]) == {role.value for role in section.roles}
    for catalogue in load_catalogues().values():
        assert catalogue.has(section.title)
        assert catalogue.has(f"console.group.{section.group.value}")
    icons = make_pages(Settings(data_dir=tmp_path)).environment.get_template("partials/icons.html").module
    assert "<path" in icons.icon(section.icon)


def test_refusals_of_the_console_are_on_record_except_of_its_start():
    silent = [route.paths for route in console_routes if not route.opt.get(RECORDED)]
    assert silent == [{"/console"}]


@pytest.mark.parametrize("role", Role)
def test_a_person_sees_the_sections_of_their_roles_alone(role, tmp_path):
    pages = make_pages(Settings(data_dir=tmp_path), sections=SECTIONS)
    principal = Principal("p", "P", (), frozenset({role}), session=True)
    shown = [one for one in pages.sections if one.open_to(principal)]
    assert shown == [one for one in SECTIONS if role in one.roles]
    assert role is not Role.STAFF or not shown


async def test_no_page_replaces_what_every_page_has(tmp_path):
    """The page of people once did, with the words of its search, and was an error wherever somebody had to be named."""
    pages = make_pages(Settings(data_dir=tmp_path), sections=SECTIONS)
    request = Request({"type": "http", "path": "/", "headers": [], "state": {}, "user": None, "query_string": b""})
    with pytest.raises(TypeError, match="who"):
        await console_page(request, pages, SECTIONS[0], "console/people.html", who="alice")


def test_an_address_leaves_out_what_is_empty_and_escapes_the_rest():
    assert address("/console/x", {"a": "", "b": "甲&c=1"}, d=None) == "/console/x?b=%E7%94%B2%26c%3D1"
    assert address("/console/x", {"a": "1"}, a="") == "/console/x"


def test_times_of_forms_are_in_the_persons_zone_and_those_of_links_in_their_own():
    utc = dt.datetime(2026, 11, 20, 8, tzinfo=dt.UTC)
    assert local_moment("since", "2026-11-20T16:00", SHANGHAI) == utc
    assert local_moment("since", "2026-11-20T08:00:00Z", SHANGHAI) == utc
    assert local_moment("since", "", SHANGHAI) is None
    assert local_text(utc, SHANGHAI) == "2026-11-20T16:00"
    for wrong in ("2026-13-20T16:00", "yesterday", "2026-11-20", "９026-11-20T16:00"):
        with pytest.raises(BadRequestError):
            local_moment("since", wrong, SHANGHAI)


@pytest.mark.parametrize("name", ["", "Nowhere/Land", "../../etc/passwd", "/etc/passwd", "Asia/Shanghai\0", "x" * 500])
def test_a_zone_that_nobody_knows_is_utc(name):
    assert zone_named(name).key == "UTC"
