"""An answer that is written in another tab is followed to its end, and what cannot be had is said."""

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Open, Sessions, Watched
from tests.rig.product import Product

SLOW, GOING = "be slow", "#stop:not([hidden])"


def test_an_answer_in_another_tab_is_followed_over_a_lost_request(
    open_page: Open, product: Product, sessions: Sessions
):
    alice = open_page()
    page = alice.sign_in()
    alice.say(SLOW, wait=False)
    page.wait_for_selector(GOING)
    page.wait_for_selector("[data-running][data-message]")
    other = Watched(page.context.new_page(), product.url, sessions)
    other.expected += ["ERR_FAILED", "404"]
    lost: list[str] = []
    other.page.route("**/chat/messages/*", lambda route: (lost.append(route.request.url), route.abort()))
    other.sign_in(path=page.url.removeprefix(product.url))
    expect(other.page.locator(".working")).to_be_visible()
    other.page.wait_for_event("requestfailed")
    other.page.unroute("**/chat/messages/*")
    page.click("#stop")
    alice.settled()
    expect(other.page.locator(".working")).to_have_count(0)
    expect(other.page.locator("#status")).to_have_text("")
    assert len(lost) == 1
    other.check()
    other.page.close()


@pytest.mark.parametrize("status", [401, 404])
def test_an_answer_that_can_be_followed_no_more_says_why(open_page: Open, status: int):
    alice = open_page()
    page = alice.sign_in()
    alice.say("hello before")
    alice.expected.append(str(status))
    page.route("**/chat/messages/*", lambda route: route.fulfill(status=status, body="{}"))
    page.route("**/c/*", running)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#status")).to_contain_text({401: "session has ended", 404: "no longer exists"}[status])


def running(route: Route) -> None:
    """Serve the page as it is while the answer is written."""
    answer = route.fetch()
    route.fulfill(
        response=answer, body=answer.text().replace('message-answer" data', 'message-answer" data-running data', 1)
    )
