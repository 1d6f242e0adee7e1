import pytest

from gateway.auth.provider import FAILURE_PAUSE_S, KEYS_FRESH_S, KEYS_STALE_S, REFETCH_PAUSE_S, _signing_keys
from gateway.problems import ProviderUnavailableError
from tests.unit.auth.tokens_rig import Clock, Documents, provider, rsa

KEY, NEXT = rsa("old"), rsa("new")


async def test_keys_are_fetched_once() -> None:
    documents = Documents(KEY)
    subject = provider(documents)
    for _ in range(5):
        assert [key.kid for key in await subject.keys("old")] == ["old"]
    assert documents.key_fetches == 1


async def test_a_rotated_key_is_followed_and_floods_are_not() -> None:
    documents, clock = Documents(KEY), Clock()
    subject = provider(documents, clock)
    await subject.keys("old")
    documents.keys = [NEXT]
    clock.now += REFETCH_PAUSE_S
    assert [key.kid for key in await subject.keys("new")] == ["new"]
    assert await subject.keys("old") == ()
    for number in range(100):
        assert await subject.keys(f"invented-{number}") == ()
    assert documents.key_fetches == 2


@pytest.mark.parametrize("trouble", ["asked a moment ago", "down"])
async def test_an_unknown_key_may_be_a_new_one_while_the_provider_cannot_be_asked(trouble: str) -> None:
    documents, clock = Documents(KEY), Clock()
    subject = provider(documents, clock)
    await subject.keys("old")
    clock.now += REFETCH_PAUSE_S
    assert await subject.keys("invented") == (), "the provider itself says so"
    documents.keys, documents.down = [KEY, NEXT], trouble == "down"
    clock.now += REFETCH_PAUSE_S if documents.down else REFETCH_PAUSE_S - 1
    for number in range(100):
        with pytest.raises(ProviderUnavailableError):
            await subject.keys(f"invented-{number}")
    with pytest.raises(ProviderUnavailableError):
        await subject.keys("new")
    assert len(await subject.keys("old")) == 1
    assert documents.key_fetches == (3 if documents.down else 2), "no flood"
    documents.down = False
    clock.now += REFETCH_PAUSE_S
    assert len(await subject.keys("new")) == 1


async def test_a_key_taken_away_is_forgotten_in_time() -> None:
    documents, clock = Documents(KEY, NEXT), Clock()
    subject = provider(documents, clock)
    await subject.keys("old")
    documents.keys = [NEXT]
    clock.now += KEYS_FRESH_S
    assert await subject.keys("old") == ()


async def test_while_the_provider_is_down_known_keys_serve_for_a_day() -> None:
    documents, clock = Documents(KEY), Clock()
    subject = provider(documents, clock)
    await subject.keys("old")
    documents.down = True
    clock.now += KEYS_FRESH_S
    assert len(await subject.keys("old")) == 1
    clock.now += KEYS_STALE_S
    with pytest.raises(ProviderUnavailableError):
        await subject.keys("old")


async def test_a_provider_that_is_down_is_left_alone_between_tries() -> None:
    documents, clock = Documents(KEY), Clock()
    documents.down = True
    subject = provider(documents, clock)
    for _ in range(10):
        with pytest.raises(ProviderUnavailableError):
            await subject.metadata()
    assert len(documents.asked) == 1
    documents.down = False
    clock.now += FAILURE_PAUSE_S
    assert (await subject.metadata()).issuer


async def test_a_provider_that_calls_itself_otherwise_is_refused() -> None:
    subject = provider(Documents(KEY))
    subject._issuer = "https://login.example.org/realms/other"
    with pytest.raises(ProviderUnavailableError):
        await subject.metadata()


def test_one_unreadable_key_does_not_hide_the_others() -> None:
    good = KEY.as_dict(private=False)
    broken = [
        {"kty": "RSA", "kid": "x"},
        {"kty": "AKP"},
        {"kty": "oct", "k": "c2VjcmV0"},
        "key",
        None,
        {**good, "n": 5},
    ]
    assert [key.kid for key in _signing_keys({"keys": [*broken, good]})] == ["old"]


@pytest.mark.parametrize(
    "document", [{}, {"keys": None}, {"keys": []}, {"keys": "x"}, {"keys": [{"kty": "oct", "k": "AA"}]}]
)
def test_no_usable_key_is_an_error(document: dict[str, object]) -> None:
    with pytest.raises(ProviderUnavailableError):
        _signing_keys(document)
