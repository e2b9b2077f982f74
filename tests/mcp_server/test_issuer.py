"""The keys of an issuer: fetched when they are needed, kept for a while, and looked for where the issuer says."""

from __future__ import annotations

import asyncio
import json

import pytest

from agent_messaging_mcp.http import issuer as issuer_module
from agent_messaging_mcp.http.issuer import Issuer as Checker
from tests.mcp_server.issuing import AUDIENCE, KEYS_PATH, METADATA_PATH, OPENID_PATH, Issuer, issuing, new_key

WRONG_PAGES = {
    "nothing": b"",
    "no JSON": b"<html>not here</html>",
    "no text": b"\xff\xfe",
    "null": b"null",
    "a list": b"[]",
    "a number": b"7",
    "no keys": b"{}",
    "no list of keys": b'{"keys": 7}',
    "an empty list": b'{"keys": []}',
    "keys that are none": b'{"keys": [null, 7, "key", [], {}]}',
    "a key without a type": b'{"keys": [{"kid": "es256"}]}',
    "a key of an unknown type": b'{"keys": [{"kid": "es256", "kty": "QUANTUM"}]}',
    "a key without numbers": b'{"keys": [{"kid": "es256", "kty": "RSA"}]}',
    "a key of words": b'{"keys": [{"kid": "es256", "kty": "RSA", "n": "evil", "e": "?"}]}',
    "a deep page": b"[" * 50_000,
}


class Clock:
    """The time that passes for whoever checks."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(issuer_module, "monotonic", clock)
    return clock


async def subject(checker: Checker, token: str) -> str | None:
    claims = await checker.verify(token)
    return None if claims is None else claims.subject


@pytest.mark.requirement("mcp:edge:keys")
async def test_a_new_key_is_taken_within_ten_seconds_and_an_old_one_goes(clock: Clock) -> None:
    async with issuing("ES256") as issuer:
        checker = Checker(issuer.url, AUDIENCE)
        assert await subject(checker, issuer.token("es256")) == "alice"
        before = issuer.token("es256")
        del issuer.keys["es256"]
        issuer.add("next", "EdDSA")
        assert await subject(checker, issuer.token("next")) is None, "asked for a moment ago"
        clock.now += 10.1
        assert await subject(checker, issuer.token("next")) == "alice"
        assert await subject(checker, before) is None
        assert issuer.asked[KEYS_PATH] == 2


@pytest.mark.requirement("mcp:edge:keys")
async def test_a_key_that_is_taken_back_is_good_for_five_minutes_at_most(clock: Clock) -> None:
    async with issuing("ES256") as issuer:
        checker = Checker(issuer.url, AUDIENCE)
        stolen = issuer.token("es256")
        assert await subject(checker, stolen) == "alice"
        issuer.keys["es256"] = ("ES256", new_key("ES256"))
        clock.now += 299
        assert await subject(checker, stolen) == "alice"
        assert issuer.asked[KEYS_PATH] == 1
        clock.now += 2
        assert await subject(checker, stolen) is None
        assert await subject(checker, issuer.token("es256")) == "alice"


@pytest.mark.requirement("mcp:edge:keys")
async def test_an_issuer_that_is_away_at_first_is_asked_again(clock: Clock) -> None:
    async with issuing("ES256") as issuer:
        checker = Checker(issuer.url, AUDIENCE)
        token = issuer.token("es256")
        await issuer.stop()
        assert await subject(checker, token) is None
        await issuer.start()
        assert await subject(checker, token) is None, "not so soon"
        clock.now += 10.1
        assert await subject(checker, token) == "alice"


@pytest.mark.requirement("mcp:edge:keys")
async def test_an_issuer_that_is_away_later_locks_nobody_out(clock: Clock) -> None:
    async with issuing("ES256") as issuer:
        checker = Checker(issuer.url, AUDIENCE)
        assert await subject(checker, issuer.token("es256")) == "alice"
        await issuer.stop()
        for _ in range(3):
            clock.now += 1_000
            assert await subject(checker, issuer.token("es256")) == "alice"
        await issuer.start()
        for name, page in WRONG_PAGES.items():
            issuer.pages[KEYS_PATH] = page
            clock.now += 1_000
            if name not in ("an empty list",):
                assert await subject(checker, issuer.token("es256")) == "alice", name


@pytest.mark.requirement("mcp:edge:keys")
async def test_unknown_keys_cost_one_look_every_ten_seconds(clock: Clock) -> None:
    async with issuing("ES256") as issuer:
        checker = Checker(issuer.url, AUDIENCE)
        began = clock.now
        for number in range(200):
            some = [issuer.token("es256", kid=f"unknown-{number}-{other}") for other in range(3)]
            assert await asyncio.gather(*(subject(checker, token) for token in some)) == [None] * 3
            assert await subject(checker, issuer.token("es256")) == "alice"
            clock.now += 0.5
        assert issuer.asked[KEYS_PATH] <= (clock.now - began) / 10 + 1
        assert issuer.asked[KEYS_PATH] >= 9, "new keys would never be found"


@pytest.mark.requirement("mcp:edge:keys")
@pytest.mark.parametrize("place", [METADATA_PATH, KEYS_PATH])
async def test_whatever_an_issuer_says_instead_of_keys_nobody_gets_in(place: str) -> None:
    async with issuing("ES256") as issuer:
        for name, page in WRONG_PAGES.items():
            issuer.pages[place] = page
            assert await subject(Checker(issuer.url, AUDIENCE), issuer.token("es256")) is None, name


@pytest.mark.requirement("mcp:edge:keys")
async def test_the_keys_are_where_the_issuers_own_metadata_says(clock: Clock) -> None:
    async with issuing("ES256") as issuer, issuing("ES256") as other:
        token = issuer.token("es256")
        keys = json.dumps({"issuer": issuer.url, "jwks_uri": f"{issuer.url}{KEYS_PATH}"}).encode()

        issuer.pages = {METADATA_PATH: b"{}", OPENID_PATH: keys}
        assert await subject(Checker(issuer.url, AUDIENCE), token) == "alice", "OpenID metadata"

        await told(issuer, {"issuer": other.url, "jwks_uri": f"{other.url}{KEYS_PATH}"})
        assert await subject(Checker(issuer.url, AUDIENCE), token) is None, "metadata of another issuer"
        await told(issuer, {"jwks_uri": f"{issuer.url}{KEYS_PATH}"})
        assert await subject(Checker(issuer.url, AUDIENCE), token) is None, "metadata of nobody"
        await told(issuer, {"issuer": issuer.url, "jwks_uri": [f"{issuer.url}{KEYS_PATH}"]})
        assert await subject(Checker(issuer.url, AUDIENCE), token) is None, "no address"
        assert not other.asked

        issuer.pages = {KEYS_PATH: f"{other.url}{KEYS_PATH}".encode()}
        assert await subject(Checker(issuer.url, AUDIENCE), other.token("es256", issuer.claims())) is None
        assert not other.asked, "a redirection was followed"


@pytest.mark.requirement("mcp:edge:keys")
async def test_an_address_of_keys_that_is_given_is_the_only_one_asked() -> None:
    async with issuing("ES256") as issuer:
        checker = Checker(issuer.url, AUDIENCE, f"{issuer.url}{KEYS_PATH}")
        assert await subject(checker, issuer.token("es256")) == "alice"
        assert set(issuer.asked) == {KEYS_PATH}


async def told(issuer: Issuer, metadata: object) -> None:
    issuer.pages = {METADATA_PATH: json.dumps(metadata).encode()}


@pytest.mark.requirement("mcp:edge:keys")
async def test_an_issuer_that_hangs_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_module, "_FETCH_SECONDS", 0.3)
    monkeypatch.setattr(issuer_module, "_LEAST_BETWEEN_FETCHES", 0.4)
    async with issuing("ES256") as issuer:
        checker = Checker(issuer.url, AUDIENCE)
        issuer.answers.clear()
        token = issuer.token("es256")
        try:
            assert await asyncio.gather(*(subject(checker, token) for _ in range(20))) == [None] * 20
            assert issuer.asked[METADATA_PATH] == 1, "each of those who waited has tried it again"
        finally:
            issuer.answers.set()


@pytest.mark.requirement("mcp:edge:keys")
async def test_whoever_has_a_known_key_does_not_wait_for_new_ones(clock: Clock) -> None:
    async with issuing("ES256") as issuer:
        checker = Checker(issuer.url, AUDIENCE)
        assert await subject(checker, issuer.token("es256")) == "alice"
        issuer.answers.clear()
        clock.now += 1_000
        stranger = asyncio.create_task(subject(checker, issuer.token("es256", kid="unknown")))
        try:
            async with asyncio.timeout(90):
                while issuer.asked[METADATA_PATH] < 2:  # noqa: ASYNC110 - until it has been asked
                    await asyncio.sleep(0.01)
            assert await subject(checker, issuer.token("es256")) == "alice"
            assert not stranger.done()
        finally:
            issuer.answers.set()
        assert await stranger is None
