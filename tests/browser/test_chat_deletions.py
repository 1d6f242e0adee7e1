"""A conversation that is deleted: the way back, and what is written meanwhile."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import Open


def test_a_text_for_a_conversation_that_is_gone_waits_in_a_new_one(open_page: Open):
    alice = open_page()
    page = alice.sign_in()
    alice.say("hello before")
    alice.expected.append("404")
    address = re.search(r"/c/([\w-]+)", page.url)
    assert address
    csrf = page.get_attribute('meta[name="csrf-token"]', "content") or ""
    gone = page.request.delete(
        f"{alice.url}/chat/conversations/{address[1]}", headers={"x-csrf-token": csrf, "origin": alice.url}
    )
    assert gone.ok
    alice.say("a long text", wait=False)
    expect(page.locator("#status")).to_contain_text("no longer exists")
    expect(page.locator("#draft")).to_have_value("a long text")
    page.click("#status button")
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#draft")).to_have_value("a long text")
    expect(page.locator(".message")).to_have_count(0)


def test_a_draft_that_gives_way_can_be_had_back(open_page: Open):
    page = open_page().sign_in()
    page.fill("#draft", "forty minutes of typing")
    page.locator(".example").first.click()
    expect(page.locator("#draft")).not_to_have_value("forty minutes of typing")
    page.click(".toast-action")
    expect(page.locator("#draft")).to_have_value("forty minutes of typing")


def test_the_way_back_stays_while_it_has_the_keyboard(open_page: Open):
    alice = open_page()
    alice.page.clock.install()
    page = alice.sign_in()
    alice.say("hello before")
    before = page.url
    page.locator('.conversation:has([aria-current]) [data-action="delete"]').click()
    page.focus(".toast-action")
    page.clock.fast_forward(20_000)
    assert page.url == before
    page.keyboard.press("Enter")
    expect(page.locator(".conversation-link[aria-current]")).to_be_visible()
    page.locator('.conversation:has([aria-current]) [data-action="delete"]').click()
    expect(page.locator(".toast-action")).to_be_visible()
    page.clock.fast_forward(20_000)
    page.wait_for_selector("#welcome:not([hidden])")


def test_a_text_begun_after_a_deletion_stays_where_it_is_and_comes_along(open_page: Open):
    alice = open_page()
    alice.page.clock.install()
    page = alice.sign_in()
    alice.say("hello before")
    before = page.url
    alice.expected.append("404")
    page.locator('.conversation:has([aria-current]) [data-action="delete"]').click()
    expect(page.locator(".toast-action")).to_be_visible()
    page.fill("#draft", "begun meanwhile")
    page.clock.fast_forward(20_000)
    expect(page.locator(".toast")).to_have_count(0)
    assert page.url == before
    expect(page.locator("#draft")).to_have_value("begun meanwhile")
    page.press("#draft", "Enter")
    page.click("#status button")
    page.wait_for_selector("#welcome:not([hidden])")
    expect(page.locator("#draft")).to_have_value("begun meanwhile")


def test_a_deletion_that_is_undone_gives_the_text_back_to_its_conversation(open_page: Open):
    alice = open_page()
    page = alice.sign_in()
    alice.say("hello before")
    page.locator('.conversation:has([aria-current]) [data-action="delete"]').click()
    expect(page.locator(".toast-action")).to_be_visible()
    page.fill("#draft", "begun meanwhile")
    page.click(".toast-action")
    expect(page.locator(".conversation-link[aria-current]")).to_be_visible()
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#draft")).to_have_value("begun meanwhile")
    page.click(".new-chat")
    page.wait_for_selector("#welcome:not([hidden])")
    expect(page.locator("#draft")).to_have_value("")


def test_a_second_deletion_takes_nobody_away_from_its_way_back(open_page: Open):
    alice = open_page()
    alice.page.clock.install()
    page = alice.sign_in()
    alice.say("hello first")
    page.click(".new-chat")
    page.wait_for_selector("#welcome:not([hidden])")
    alice.say("hello second")
    expect(page.locator(".conversation-link[aria-current]")).to_have_text("hello second")
    before, many = page.url, page.locator(".conversation").count()
    page.locator('.conversation:has([aria-current]) [data-action="delete"]').click()
    expect(page.locator(".conversation")).to_have_count(many - 1)
    page.locator('.conversation:has-text("hello first") [data-action="delete"]').first.click()
    expect(page.locator(".conversation")).to_have_count(many - 2)
    page.wait_for_timeout(300)
    assert page.url == before
    page.click(".toast-action")
    expect(page.locator('.conversation:has-text("hello first")').first).to_be_visible()
    page.locator('.conversation:has-text("hello first") [data-action="delete"]').first.click()
    expect(page.locator(".toast-action")).to_be_visible()
    page.clock.fast_forward(20_000)
    page.wait_for_selector("#welcome:not([hidden])")
