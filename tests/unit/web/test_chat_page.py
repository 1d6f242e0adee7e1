import gzip
import re
from collections.abc import Awaitable, Callable
from html import unescape

import pytest
from litestar.testing import AsyncTestClient

from gateway.problems import NotFoundError
from tests.unit.web.scripted import ScriptedTurns, answering, events

Make = Callable[..., Awaitable[str]]
NOBODY = "01900000-0000-7000-8000-000000000000"


async def say(page: AsyncTestClient, conversation_id: str, text: str, **headers: str):
    return await page.post(f"/chat/{conversation_id}/turns", json={"text": text}, headers=headers)


async def test_nobody_is_led_to_the_sign_in(page: AsyncTestClient):
    for path in ("/", f"/c/{NOBODY}"):
        answer = await page.get(path, headers={"x-test-person": "nobody"}, follow_redirects=False)
        assert answer.status_code == 302
        assert answer.headers["location"] == f"/auth/login?next={path.replace('/', '%2F')}"


async def test_somebody_without_the_role_gets_a_clear_page(page: AsyncTestClient):
    answer = await page.get("/", headers={"x-test-person": "sam"})
    assert answer.status_code == 403
    assert "Your account has no access to the chat" in answer.text
    assert "/auth/logout" in answer.text


@pytest.mark.parametrize("person", ["alice", "sam", "nobody"])
async def test_a_browser_gets_pages_for_errors_too(page: AsyncTestClient, person: str):
    headers = {"accept": "text/html,*/*", "x-test-person": person}
    missing = await page.get("/nowhere", headers=headers)
    assert missing.status_code == 404
    assert "There is nothing here" in missing.text
    refused = await page.get("/chat/conversations", headers=headers)
    words = {"alice": "", "sam": "Your account may not open this page", "nobody": "Please sign in"}
    assert words[person] in refused.text
    assert "default-src 'none'" in missing.headers["content-security-policy"]


@pytest.mark.parametrize(("accepted", "word"), [("zh-CN,zh", "新对话"), ("en", "New chat"), ("", "New chat")])
async def test_the_page_speaks_the_browsers_language(page: AsyncTestClient, accepted: str, word: str):
    answer = await page.get("/", headers={"accept-language": accepted})
    assert word in answer.text
    assert f'<html lang="{"zh-CN" if accepted.startswith("zh") else "en"}"' in answer.text


async def test_choices_of_language_and_theme_are_remembered(page: AsyncTestClient):
    answer = await page.post(
        "/preferences", data={"language": "zh-CN", "theme": "dark", "return_to": "/"}, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert all("httponly" in c.lower() and "samesite=lax" in c.lower() for c in answer.headers.get_list("set-cookie"))
    shown = await page.get("/", headers={"accept-language": "en"})
    assert '<html lang="zh-CN" data-theme="dark"' in shown.text


@pytest.mark.parametrize("where", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
async def test_preferences_lead_to_our_own_pages_only(page: AsyncTestClient, where: str):
    answer = await page.post("/preferences", data={"theme": "dark", "return_to": where}, follow_redirects=False)
    assert answer.headers["location"] == "/"


async def test_unknown_choices_are_not_remembered(page: AsyncTestClient):
    answer = await page.post("/preferences", data={"language": "../x", "theme": "pink"}, follow_redirects=False)
    assert "set-cookie" not in answer.headers


async def test_a_conversation_is_listed_renamed_deleted_and_brought_back(page: AsyncTestClient, conversation: Make):
    cid = await conversation()
    assert (await say(page, cid, "Plan the move")).status_code == 200
    assert f'/c/{cid}"' in (await page.get("/chat/conversations")).text
    renamed = await page.patch(f"/chat/conversations/{cid}", json={"title": "  My\n plan "})
    assert renamed.json() == {"title": "My plan"}
    assert "My plan" in (await page.get(f"/c/{cid}")).text
    assert (await page.delete(f"/chat/conversations/{cid}")).status_code == 204
    assert (await page.get(f"/c/{cid}")).status_code == 404
    assert "My plan" not in (await page.get("/chat/conversations")).text
    assert (await page.post(f"/chat/conversations/{cid}/restore")).status_code == 204
    assert (await page.get(f"/c/{cid}")).status_code == 200


async def test_a_list_goes_on_after_a_conversation_that_was_deleted_meanwhile(
    page: AsyncTestClient, conversation: Make
):
    older, last = await conversation(), await conversation()
    for cid in (older, last):
        await say(page, cid, "Plan the move")
    await page.delete(f"/chat/conversations/{last}")
    text = (await page.get(f"/chat/conversations?before={last}")).text
    assert f'/c/{older}"' in text
    assert f'/c/{last}"' not in text
    assert (await page.get("/chat/conversations?before=none")).status_code == 404
    assert (await page.get(f"/chat/conversations?before={older}", headers={"x-test-person": "bob"})).status_code == 404


async def test_only_the_newest_answer_can_be_had_again(page: AsyncTestClient, conversation: Make):
    cid = await conversation()
    first, last = [events((await say(page, cid, text)).text)[-1][1]["message_id"] for text in ("one", "two")]
    again = 'data-action="regenerate"'
    assert again not in (await page.get(f"/chat/messages/{first}")).text
    assert again in (await page.get(f"/chat/messages/{last}")).text


async def test_drafts_are_kept_apart_by_person_without_naming_them(page: AsyncTestClient):
    found = [(await page.get("/", headers={"x-test-person": name})).text for name in ("alice", "bob")]
    keys = {re.search(r'data-person="([0-9a-f]{16})"', text)[1] for text in found}
    assert len(keys) == 2


@pytest.mark.parametrize("title", ["", "   ", "x" * 121, 5, None])
async def test_bad_names_are_refused(page: AsyncTestClient, conversation: Make, title: object):
    cid = await conversation()
    assert (await page.patch(f"/chat/conversations/{cid}", json={"title": title})).status_code == 400


async def test_other_peoples_things_are_not_there(page: AsyncTestClient, conversation: Make):
    cid = await conversation()
    await say(page, cid, "mine")
    message_id = re.findall(r'data-message="([^"]+)"', (await page.get(f"/c/{cid}")).text)[1]
    bob = {"x-test-person": "bob"}
    answers = [
        await page.get(f"/c/{cid}", headers=bob),
        await page.get(f"/chat/conversations/{cid}/messages?before=5", headers=bob),
        await page.get(f"/chat/messages/{message_id}", headers=bob),
        await page.patch(f"/chat/conversations/{cid}", json={"title": "x"}, headers=bob),
        await page.delete(f"/chat/conversations/{cid}", headers=bob),
        await page.post(f"/chat/conversations/{cid}/restore", headers=bob),
        await page.post(f"/chat/{cid}/turns", json={"text": "hi"}, headers=bob),
        await page.post(f"/chat/messages/{message_id}/feedback", json={"rating": 1}, headers=bob),
    ]
    assert [answer.status_code for answer in answers] == [NotFoundError.status] * len(answers)
    assert "mine" not in (await page.get("/chat/conversations", headers=bob)).text


@pytest.mark.parametrize("bad", ["x", "..%2f..%2fetc", "01900000-0000-7000-8000-00000000000g", "%00", "💥"])
async def test_ids_that_are_none_are_problems_not_failures(page: AsyncTestClient, bad: str):
    assert (await page.get(f"/c/{bad}")).status_code == 404
    assert (await page.post(f"/chat/{bad}/turns", json={"text": "hi"})).status_code in (400, 404)
    assert (await page.delete(f"/chat/conversations/{bad}")).status_code in (400, 404)


async def test_stored_messages_are_shown_safely(page: AsyncTestClient, conversation: Make, turns: ScriptedTurns):
    cid = await conversation()
    evil = '<img src=x onerror=alert(1)>"><script>alert(1)</script>\u202eabc'
    turns.script = answering(evil)
    await say(page, cid, evil)
    await page.patch(f"/chat/conversations/{cid}", json={"title": evil})
    text = (await page.get(f"/c/{cid}")).text
    assert "<img src=x" not in text
    assert "<script>alert" not in text
    assert text.count("[U+202E]") >= 2


async def test_a_long_conversation_comes_in_parts(page: AsyncTestClient, conversation: Make, turns: ScriptedTurns):
    cid = await conversation()
    turns.script = answering("long " * 2000)
    for number in range(6):
        await say(page, cid, f"question {number}")
    text = (await page.get(f"/c/{cid}")).text
    assert "question 5" in text
    assert "question 1" not in text
    position = re.search(r'data-action="earlier" data-before="(\d+)"', text).group(1)
    earlier = (await page.get(f"/chat/conversations/{cid}/messages?before={position}")).text
    assert "question 1" in earlier
    assert "question 5" not in earlier
    assert 'data-action="regenerate"' not in earlier


async def test_pages_run_no_inline_script_and_name_no_other_host(page: AsyncTestClient, conversation: Make):
    cid = await conversation()
    await say(page, cid, "hi")
    text = (await page.get(f"/c/{cid}")).text
    assert re.findall(r"<script(?![^>]*\ssrc=)", text) == []
    assert re.findall(r"\s(?:on\w+|style)=", text) == []
    assert "<style" not in text
    assert re.findall(r'\s(?:src|href|action)="(?!/|#)[^"]*"', text) == []


async def test_every_response_says_what_browsers_may_do(page: AsyncTestClient):
    for path in ("/", "/chat/conversations", "/static/x/mark.svg", "/nowhere"):
        headers = (await page.get(path)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == ("no-store" if not path.startswith("/static") else "public, no-cache")


async def test_static_files_are_kept_for_good_under_their_hash(page: AsyncTestClient):
    url = re.search(r'href="(/static/[^"]+/css/app.css)"', (await page.get("/")).text).group(1)
    answer = await page.get(url)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert "--accent" in answer.text
    plain = await page.get(url, headers={"accept-encoding": "identity"})
    assert plain.content == answer.content
    again = await page.get(url, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["../pages.py", "..%2fpages.py", "js/none.js", "/etc/passwd", "js/", "messages/en.json"]
)
async def test_nothing_but_static_files_is_served(page: AsyncTestClient, name: str):
    assert (await page.get(f"/static/x/{name}")).status_code == 404


async def test_the_first_load_is_small(page: AsyncTestClient):
    text = (await page.get("/", headers={"accept-language": "zh-CN"})).text
    urls = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', text))
    scripts = {url.rsplit("/", 1)[1] for url in urls if "/js/" in url}
    total = len(text.encode())
    for url in urls:
        answer = await page.get(url)
        total += len(gzip.compress(answer.content, 9))
        # Whatever a script imports is named in the page, so that nothing is fetched late.
        assert {unescape(name) for name in re.findall(r'from "\./([\w.]+)"', answer.text)} <= scripts
    assert total <= 150_000
    assert total <= 60_000, "far below the limit so far; keep it so"
