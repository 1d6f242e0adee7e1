"""The chat page when something fails, in a real browser: nothing written is lost, and a person is told."""

import json

import pytest
from playwright.sync_api import expect

from audit.record import Kind
from tests.browser.conftest import Open, Sessions, Watched
from tests.rig.product import Product

LAST = ".message-answer:last-of-type"


def test_an_expired_session_keeps_the_draft(open_page: Open):
    alice = open_page()
    page = alice.sign_in()
    alice.say("hello before")
    alice.expected.append("401")
    page.context.clear_cookies()
    alice.say("do not lose this text", wait=False)
    expect(page.locator("#status")).to_contain_text("Your session has ended")
    expect(page.locator("#draft")).to_have_value("do not lose this text")
    page.click("#status button")
    # The provider may still know the person; otherwise it asks.
    page.wait_for_selector('#draft, button[name="person"]')
    if page.locator('button[name="person"]').count():
        page.click('button[name="person"][value="alice"]')
    expect(page.locator("#draft")).to_have_value("do not lose this text")
    expect(page.locator(".bubble").first).to_have_text("hello before")


def test_nothing_is_sent_as_somebody_who_signed_in_elsewhere(open_page: Open, product: Product, sessions: Sessions):
    alice = open_page()
    page = alice.sign_in()
    alice.say("hello before")
    alice.expected.append("409")
    page.context.clear_cookies()
    carol = Watched(page.context.new_page(), product.url, sessions)
    carol.sign_in("carol")
    before = len(product.records(Kind.TURN_ACCEPTED))
    alice.say("a private word of Alice", wait=False)
    expect(page.locator("#status")).to_contain_text("Somebody else is signed in")
    expect(page.locator("#draft")).to_have_value("a private word of Alice")
    page.click('[data-rating="1"]')
    expect(page.locator(".toast")).to_contain_text("Somebody else is signed in")
    assert len(product.records(Kind.TURN_ACCEPTED)) == before
    carol.check()
    page.click("#status button")
    page.click('button[name="person"][value="alice"]')
    expect(page.locator("#draft")).to_have_value("a private word of Alice")


def test_an_older_tab_answers_no_other_question_again(open_page: Open, product: Product, sessions: Sessions):
    alice = open_page()
    page = alice.sign_in()
    alice.say("hello before")
    alice.expected.append("409")
    newer = Watched(page.context.new_page(), product.url, sessions)
    newer.sign_in(path=page.url.removeprefix(product.url))
    newer.say("a second question")
    page.click('[data-action="regenerate"]')
    expect(page.locator("#status")).to_contain_text("went on elsewhere")
    expect(page.locator(".message-answer")).to_have_count(1)
    expect(page.locator(".message-answer")).to_be_visible()
    page.click("#status button")
    expect(page.locator(".bubble")).to_have_text(["hello before", "a second question"])
    page.click('[data-action="regenerate"]')
    alice.settled()
    expect(page.locator(".bubble")).to_have_text(["hello before", "a second question"])
    newer.check()


def test_a_lost_connection_keeps_text_and_says_so(open_page: Open):
    alice = open_page()
    page = alice.sign_in()
    alice.expected += ["ERR_INTERNET_DISCONNECTED", "ERR_FAILED"]
    page.context.set_offline(True)
    alice.say("are you there", wait=False)
    expect(page.locator("#status")).to_contain_text("not sent")
    expect(page.locator("#draft")).to_have_value("are you there")
    page.context.set_offline(False)
    page.click("#status button")
    alice.settled()
    expect(page.locator(LAST)).to_contain_text("Gladly")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (429, "rate-limited", "You can send again in"),
        (503, "overloaded", "Many people are chatting"),
        (503, "audit-unavailable", "audit log is not available"),
        (503, "inference-unavailable", "model is not available"),
        (500, "internal", "did not work"),
    ],
)
def test_refusals_are_said_and_the_text_comes_back(open_page: Open, status: int, code: str, words: str):
    alice = open_page()
    alice.page.clock.install()
    page = alice.sign_in()
    alice.expected.append(f"status of {status}")
    document = json.dumps({"type": f"urn:attest:problem:{code}", "status": status, "title": "x"})
    page.route(
        "**/turns",
        lambda route: route.fulfill(
            status=status, content_type="application/problem+json", headers={"retry-after": "2"}, body=document
        ),
    )
    alice.say("keep me", wait=False)
    expect(page.locator("#status")).to_contain_text(words)
    expect(page.locator("#draft")).to_have_value("keep me")
    expect(page.locator(".message-user")).to_have_count(0)
    page.unroute("**/turns")
    if code in ("rate-limited", "overloaded"):
        expect(page.locator("#send")).to_be_disabled()
        page.clock.fast_forward(2_500)
        expect(page.locator("#status")).to_contain_text("You can send again.")
        page.click("#send")
    else:
        page.click("#status button")
    alice.settled()
    expect(page.locator("#status")).to_be_empty()


def test_a_slow_model_is_said_and_can_be_stopped(open_page: Open):
    alice = open_page()
    alice.page.clock.install()
    page = alice.sign_in()
    alice.say("be slow", wait=False)
    expect(page.locator(".working")).to_contain_text("Writing")
    expect(page.locator(".working.slow")).to_have_count(0)
    page.clock.fast_forward(12_000)
    expect(page.locator(".working.slow")).to_contain_text("Still working")
    page.keyboard.press("Escape")
    alice.settled()
    expect(page.locator(LAST)).to_contain_text("Stopped")


def test_a_model_that_breaks_off_leaves_a_way_on(open_page: Open):
    alice = open_page()
    page = alice.sign_in()
    alice.say("Tell me about bridges")
    expect(page.locator(LAST).locator(".notice h3")).to_have_text("The model stopped answering")
    expect(page.locator(LAST).locator('[data-action="regenerate"]')).to_be_visible()


def test_long_texts_are_counted_and_held_back(open_page: Open):
    alice = open_page()
    page = alice.sign_in()
    page.fill("#draft", "汉" * 31_000)
    expect(page.locator("#counter")).to_have_text("31000 of 32000 characters")
    page.fill("#draft", "汉" * 31_990 + "😀" * 20)
    expect(page.locator("#counter")).to_contain_text("Too long by 10 characters")
    expect(page.locator("#send")).to_be_disabled()
