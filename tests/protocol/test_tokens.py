"""Bearer tokens: what lets in, what does not, how one ends, and that the secret is nowhere but with its holder."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from agent_messaging import (
    AgentNotFoundError,
    DatabaseUnavailableError,
    InvalidArgumentError,
    NotInitializedError,
    OrganizationNotFoundError,
    TokenNotFoundError,
    tokens,
)
from tests.conftest import dsn_of
from tests.protocol.test_outages import Operator
from tests.protocol.world import BAD_NAMES, fetch, nobody_accepts, opened, row_counts

FORM = re.compile(r"am_([0-9a-hjkmnp-tv-z]{8})_[A-Za-z0-9_-]{43}")
EXPIRE = "UPDATE tokens SET expires_at = clock_timestamp() WHERE id = $1"
BAD_LIFETIMES: dict[str, Any] = {
    "zero": 0,
    "negative": -1,
    "nan": float("nan"),
    "infinite": float("inf"),
    "a century": 3.2e9,
    "beyond every float": 10**5000,
    "text": "90d",
    "true": True,
    "list": [1],
}


def other_sign(sign: str) -> str:
    return "b" if sign != "b" else "c"


def crafted(token: str, other: str) -> Iterator[tuple[str, Any]]:
    """What resembles `token` and is none. `other` is a token too."""
    for at, sign in enumerate(token):
        yield f"another sign at {at}", token[:at] + other_sign(sign) + token[at + 1 :]
    _, prefix, secret = token.split("_", 2)
    _, other_prefix, other_secret = other.split("_", 2)
    yield "the secret of another token", f"am_{prefix}_{other_secret}"
    yield "the prefix of another token", f"am_{other_prefix}_{secret}"
    yield "only its prefix", prefix
    yield "only its head", f"am_{prefix}"
    yield "only its secret", secret
    yield "no secret", f"am_{prefix}_"
    yield "its hash for a secret", f"am_{prefix}_{hashlib.sha256(token.encode()).hexdigest()[:43]}"
    yield "its hash", hashlib.sha256(token.encode()).hexdigest()
    yield "cut", token[:-1]
    yield "too long", token + "A"
    yield "padded", token + "="
    yield "twice", token + token
    yield "with its scheme", f"Bearer {token}"
    for name, space in {"space": " ", "line break": "\n", "carriage return": "\r", "tab": "\t", "NUL": "\0"}.items():
        yield f"{name} before", space + token
        yield f"{name} after", token + space
        yield f"{name} for the last sign", token[:-1] + space
    yield "quoted", f'"{token}"'
    yield "in capitals", token.upper()
    yield "in small letters", token.lower()
    yield "wide letters", "".join(chr(ord(sign) + 0xFEE0) for sign in token)
    yield "an accent", token[:20] + "é" + token[21:]
    yield "another dash", token[:11] + "\u2013" + token[12:]
    yield "digits of another script", token[:3] + "\u0663" * 8 + token[11:]
    yield "half a surrogate pair", token[:-1] + "\ud800"
    yield "surrogates", "\ud800" * len(token)
    yield "a wildcard", f"am_{'%' * 8}_{'%' * 43}"
    yield "SQL", f"am_' OR '1'='1_{secret}"[:55].ljust(55, "-")
    yield "all zeros", f"am_{'0' * 8}_{'A' * 43}"
    yield "empty", ""
    yield "blank", " " * len(token)
    yield "a megabyte", "am_" + "a" * 1_000_000
    yield "a megabyte that begins well", token + "A" * 1_000_000
    yield "a JWT", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9."
    yield "none", None
    yield "bytes", token.encode()
    yield "a number", 7
    yield "a list", [token]


@pytest.mark.requirement("token:create")
async def test_a_token_is_made_for_an_agent_and_lets_in_as_that_agent_alone(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        made = await sdk.tokens.create("alice", expires_in=3600, name="alice's laptop")
        more = [await sdk.tokens.create("bob") for _ in range(20)]
        assert await sdk.tokens.verify(made.token) == made.info
        for one in more:
            found = await sdk.tokens.verify(one.token)
            assert found is not None
            assert (found.agent_external_id, found.expires_at, found.name) == ("bob", None, "")
    assert (made.info.agent_external_id, made.info.organization_external_id) == ("alice", "acme")
    assert (made.info.name, made.info.state, made.info.revoked_at) == ("alice's laptop", "valid", None)
    assert made.info.expires_at == made.info.created_at + timedelta(hours=1)
    assert len({one.token[12:] for one in more}) == len({one.info.prefix for one in more}) == 20
    for one in [made, *more]:
        written = FORM.fullmatch(one.token)
        assert written is not None, one.info
        assert written[1] == one.info.prefix


@pytest.mark.requirement("token:crafted")
async def test_nothing_that_only_resembles_a_token_lets_in(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        token, other = (await sdk.tokens.create("alice")).token, (await sdk.tokens.create("bob")).token
        tried = dict(crafted(token, other))
        let_in = {name: found for name, text in tried.items() if (found := await sdk.tokens.verify(text)) is not None}
        assert let_in == {}
        assert token not in tried.values()
        assert len(tried) > 100
        assert await sdk.tokens.verify(token) is not None


@pytest.mark.requirement("token:constant-time")
async def test_an_unknown_prefix_is_compared_as_a_wrong_secret_is(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bool] = []
    compare = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        assert len(one) == len(other) == 32
        compared.append(compare(one, other))
        return compared[-1]

    async with opened(dsn, "alice") as sdk:
        token = (await sdk.tokens.create("alice")).token
        monkeypatch.setattr(tokens.hmac, "compare_digest", watched)
        for text in (token, token[:-5] + "AAAAA", "am_" + "z" * 8 + token[11:]):
            await sdk.tokens.verify(text)
    assert compared == [True, False, False]


@pytest.mark.requirement("token:expiry")
async def test_an_expired_token_lets_nobody_in(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        lasting, ending = [await sdk.tokens.create("alice", expires_in=3600) for _ in range(2)]
        await fetch(dsn, EXPIRE, ending.info.id)
        assert await sdk.tokens.verify(ending.token) is None
        assert await sdk.tokens.verify(lasting.token) is not None
        assert await sdk.tokens.ended([ending.info.id, lasting.info.id]) == {ending.info.id}
        (listed,) = [one for one in await sdk.tokens.list(include_ended=True) if one.id == ending.info.id]
        assert listed.state == "expired"


@pytest.mark.requirement("token:expiry")
async def test_a_fraction_of_a_second_is_a_lifetime(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        made = await sdk.tokens.create("alice", expires_in=1e-9)
        assert await sdk.tokens.verify(made.token) is None
        assert await sdk.tokens.ended([made.info.id]) == {made.info.id}


@pytest.mark.requirement("token:revoke")
async def test_a_revoked_token_lets_nobody_in_in_any_process(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk, opened(dsn) as other:
        kept, made = [await sdk.tokens.create("alice") for _ in range(2)]
        assert await other.tokens.verify(made.token) == made.info
        revoked = await sdk.tokens.revoke(made.info.prefix)
        for process in (sdk, other):
            assert await process.tokens.verify(made.token) is None
            assert await process.tokens.ended([kept.info.id, made.info.id]) == {made.info.id}
            assert await process.tokens.verify(kept.token) is not None
    assert (revoked.id, revoked.state) == (made.info.id, "revoked")
    assert revoked.revoked_at is not None
    assert revoked.revoked_at > made.info.created_at


@pytest.mark.requirement("token:revoke")
async def test_the_first_revocation_counts(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk, opened(dsn) as other:
        made = await sdk.tokens.create("alice")
        prefix = made.info.prefix
        at_once = await asyncio.gather(*(process.tokens.revoke(prefix) for process in (sdk, other) * 5))
        assert {one.revoked_at for one in at_once} == {(await sdk.tokens.revoke(prefix)).revoked_at}
        await fetch(dsn, EXPIRE, made.info.id)
        assert (await sdk.tokens.revoke(prefix)).state == "revoked"


@pytest.mark.requirement("token:revoke-pasted")
async def test_a_token_that_is_pasted_for_its_prefix_is_revoked_and_never_repeated(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        for shape in ("{token}", " {token}\n", "am_{prefix}", "{token}mutilated", "am_{prefix}_", "{prefix}"):
            made = await sdk.tokens.create("alice")
            pasted = shape.format(token=made.token, prefix=made.info.prefix)
            assert (await sdk.tokens.revoke(pasted)).id == made.info.id, shape
            assert await sdk.tokens.verify(made.token) is None
        secret = made.token[12:]
        unknown: list[Any] = [made.token.replace(made.info.prefix, "zzzzzzzz"), made.token.upper(), f"x{made.token}"]
        unknown += [secret, "secrets0_" + secret, f"Bearer {made.token}", secret * 1000]
        for text in [*unknown, "", "am_", "\ud800", "\0" * 8, None, 7]:
            with pytest.raises(TokenNotFoundError) as refused:
                await sdk.tokens.revoke(text)
            assert "secrets0" not in str(refused.value)
            assert secret[:6].lower() not in str(refused.value).lower()
            assert len(str(refused.value)) < 200


@pytest.mark.requirement("token:ended")
async def test_a_token_that_is_gone_from_the_database_has_ended(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        made = [await sdk.tokens.create("alice") for _ in range(3)]
        await fetch(dsn, "DELETE FROM tokens WHERE id = $1", made[0].info.id)
        stranger = uuid4()
        asked = [*(one.info.id for one in made), stranger, stranger]
        assert await sdk.tokens.ended(iter(asked)) == {made[0].info.id, stranger}
        assert await sdk.tokens.verify(made[0].token) is None
        assert await sdk.tokens.ended([]) == set()
        with pytest.raises(InvalidArgumentError, match="UUID"):
            await sdk.tokens.ended(["not-a-uuid"])  # type: ignore[list-item]


@pytest.mark.requirement("token:list")
async def test_tokens_are_listed_by_agent_and_by_organization_and_those_that_ended_on_request(dsn: str) -> None:
    async with opened(dsn, "bob", "alice") as sdk:
        await sdk.register_organization("aa", "First")
        await sdk.register_agent("zoe", "aa", "Zoe")
        made = {name: await sdk.tokens.create(name[:-1]) for name in ("bob1", "zoe1", "alice1", "alice2", "alice3")}
        await sdk.tokens.revoke(made["alice1"].info.prefix)
        await fetch(dsn, EXPIRE, made["bob1"].info.id)
        names = {one.info.id: name for name, one in made.items()}

        async def listed(*agent: str, **options: Any) -> list[str]:
            return [names[one.id] for one in await sdk.tokens.list(*agent, **options)]

        assert await listed() == ["zoe1", "alice2", "alice3"]
        assert await listed(include_ended=True) == ["zoe1", "alice1", "alice2", "alice3", "bob1"]
        assert await listed("alice") == ["alice2", "alice3"]
        assert await listed("alice", include_ended=True) == ["alice1", "alice2", "alice3"]
        assert await listed("bob") == []
        assert await listed(organization_external_id="acme") == ["alice2", "alice3"]
        assert await listed(organization_external_id="aa", include_ended=True) == ["zoe1"]
        assert await listed("alice", organization_external_id="aa") == []
        states = {names[one.id]: one.state for one in await sdk.tokens.list(include_ended=True)}
        assert states == {"zoe1": "valid", "alice1": "revoked", "alice2": "valid", "alice3": "valid", "bob1": "expired"}


@pytest.mark.requirement("token:agent-not-found")
async def test_an_unknown_agent_or_organization_is_refused_and_near_ones_are_named(dsn: str) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        for call in (sdk.tokens.create("alcie"), sdk.tokens.list("alcie")):
            with pytest.raises(AgentNotFoundError, match="'alcie'; did you mean alice"):
                await call
        with pytest.raises(AgentNotFoundError, match="register it first"):
            await sdk.tokens.create("nothing-like-them")
        with pytest.raises(OrganizationNotFoundError, match="did you mean acme"):
            await sdk.tokens.list(organization_external_id="acne")


@pytest.mark.requirement("token:create-refused")
@pytest.mark.requirement("input:tokens")
async def test_what_no_token_can_have_is_refused_and_nothing_is_stored(dsn: str) -> None:
    async with opened(dsn, "alice", sweep_interval=3600) as sdk:
        calls: dict[str, Any] = {}
        for kind, name in BAD_NAMES.items():
            calls[f"agent {kind}"] = lambda name=name: sdk.tokens.create(name)
            if kind != "none":
                calls[f"list {kind}"] = lambda name=name: sdk.tokens.list(name)
                calls[f"list organization {kind}"] = lambda name=name: sdk.tokens.list(organization_external_id=name)
        for kind in ("int", "bytes", "list", "dict", "nul", "surrogate", "very long"):
            calls[f"called {kind}"] = lambda name=BAD_NAMES[kind]: sdk.tokens.create("alice", name=name)
        for kind, seconds in BAD_LIFETIMES.items():
            calls[f"lives {kind}"] = lambda seconds=seconds: sdk.tokens.create("alice", expires_in=seconds)
        assert await nobody_accepts(dsn, calls) == {}


@pytest.mark.requirement("token:prefix")
async def test_a_prefix_that_is_taken_is_never_given_out_again(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(dsn, "alice", "bob") as sdk:
        first = await sdk.tokens.create("alice")
        given = [first.info.prefix, first.info.prefix, "freeone0"]
        monkeypatch.setattr(tokens, "_new_prefix", lambda: given.pop(0))
        second = await sdk.tokens.create("bob")
        assert second.info.prefix == "freeone0"
        for one in (first, second):
            assert await sdk.tokens.verify(one.token) == one.info

        monkeypatch.setattr(tokens, "_new_prefix", lambda: first.info.prefix)
        with pytest.raises(RuntimeError, match="prefixes"):
            await sdk.tokens.create("bob")
        assert await sdk.tokens.verify(first.token) == first.info


@pytest.mark.requirement("token:outage")
async def test_storing_a_token_again_after_an_unknown_outcome_finds_it_stored(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        alice = await sdk.get_agent("alice")

        async def store(id: UUID) -> Any:
            return await sdk.tokens._insert(
                id, "prefix00", "am_prefix00_x", agent_id=alice.id, name="", expires_in=None
            )

        id = uuid4()
        first, again = await store(id), await store(id)
        assert first == again
        assert first.id == id
        assert await store(uuid4()) is None
    assert (await row_counts(dsn))["tokens"] == 1


@pytest.mark.requirement("token:outage")
async def test_an_outage_is_no_verdict_on_a_token_and_what_is_none_is_known_without_the_database(
    dsn: str, server: str
) -> None:
    operator = Operator(dsn_of(server, "postgres"), dsn)
    async with opened(dsn, "alice", database_patience=0) as sdk:
        made = await sdk.tokens.create("alice")
        async with operator.outage():
            for shape in ("", "am_", made.token[:-1], "\ud800" * 55, made.token + "A" * 1_000_000):
                assert await sdk.tokens.verify(shape) is None
            for call in (
                sdk.tokens.verify(made.token),
                sdk.tokens.ended([made.info.id]),
                sdk.tokens.revoke(made.info.prefix),
                sdk.tokens.create("alice"),
            ):
                with pytest.raises(DatabaseUnavailableError):
                    await call
        assert await sdk.tokens.verify(made.token) == made.info
        assert await sdk.tokens.ended([made.info.id]) == set()


@pytest.mark.requirement("token:outage")
async def test_asking_for_ended_tokens_does_not_wait_for_an_outage_to_end(dsn: str, server: str) -> None:
    operator = Operator(dsn_of(server, "postgres"), dsn)
    async with opened(dsn, "alice", database_patience=3600) as sdk:
        made = await sdk.tokens.create("alice")
        async with operator.outage():
            with pytest.raises(DatabaseUnavailableError):
                async with asyncio.timeout(90):
                    await sdk.tokens.ended([made.info.id])


@pytest.mark.requirement("token:secret")
async def test_the_secret_is_in_no_table_no_log_and_no_words_but_the_one_result(
    dsn: str, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    operator = Operator(dsn_of(server, "postgres"), dsn)
    said: list[str] = []
    async with opened(dsn, "alice", database_patience=0) as sdk:
        made = await sdk.tokens.create("alice", expires_in=60, name="laptop")
        said += [repr(made), str(made), f"{made}", repr(made.info), made.info.model_dump_json()]
        said += [repr(await sdk.tokens.verify(made.token)), repr(await sdk.tokens.list())]
        async with operator.outage():
            for call in (sdk.tokens.verify(made.token), sdk.tokens.revoke(made.token)):
                with pytest.raises(DatabaseUnavailableError) as failed:
                    await call
                said.append(repr(failed.value) + repr(failed.value.__cause__))
        await sdk.tokens.verify(made.token[:-1] + other_sign(made.token[-1]))
        said.append(repr(await sdk.tokens.revoke(made.token)))

        tables = [
            row["tablename"] for row in await fetch(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]
        assert "tokens" in tables
        for table in tables:
            said += [row["line"] for row in await fetch(dsn, f"SELECT t::text AS line FROM {table} t")]  # noqa: S608
        (stored,) = await fetch(dsn, "SELECT * FROM tokens")
    said += [caplog.text, *(repr(record.__dict__) for record in caplog.records)]

    secret = made.token[12:]
    spellings = [secret, secret[:20], secret[-20:], secret.encode().hex(), made.token.encode().hex()]
    assert [(spelling, text) for spelling in spellings for text in said if spelling in text] == []
    assert caplog.records
    assert stored["sha256"] == hashlib.sha256(made.token.encode()).digest()
    assert set(stored.keys()) == {
        *("id", "prefix", "sha256", "agent_id", "name", "created_at", "expires_at", "revoked_at")
    }
    assert made.model_dump()["token"] == made.token


@pytest.mark.requirement("directory:open")
async def test_tokens_need_an_open_library(dsn: str) -> None:
    async with opened(dsn, "alice") as sdk:
        made = await sdk.tokens.create("alice")
    calls = [sdk.tokens.create("alice"), sdk.tokens.list(), sdk.tokens.revoke("prefix00")]
    for call in [*calls, sdk.tokens.verify(made.token), sdk.tokens.ended([made.info.id])]:
        with pytest.raises(NotInitializedError):
            await call
