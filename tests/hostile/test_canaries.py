"""A secret in every field of the configuration and of every request, and none in anything that a process says: lines of
the log in both forms, pages, answers, what commands print, and what is left when one crashes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Iterable

import pytest

from tests.hostile.raw import bytes_of, calls
from tests.mcp_server.serving import Served, tokens_of
from tests.mcp_server.wire import ACCEPT, HANDSHAKE, Answer, Headers, Wire, bearer, initialize, modern
from tests.promises import THOROUGH, kept

WORD = "xq9canary"
BOUND = 60


def secret(place: str) -> str:
    """A secret of its own for each place, so that a leak tells where it came from."""
    return f"{WORD}{place}"


def found_in(texts: Iterable[str]) -> list[str]:
    """The leaks, with what stands around them."""
    return [text[max(0, text.index(WORD) - 80) : text.index(WORD) + 60] for text in texts if WORD in text]


def with_password(dsn: str) -> str:
    """The same address, with a password that the server does not ask for."""
    user, at, rest = dsn.removeprefix("postgresql://").partition("@")
    assert at
    return f"postgresql://{user.partition(':')[0]}:{secret('password')}@{rest}"


ENVIRONMENT = {
    "PGPASSWORD": secret("pgpassword"),
    "POSTGRES_PASSWORD": secret("postgrespassword"),
    "AWS_SECRET_ACCESS_KEY": secret("aws"),
    "AGENT_MESSAGING_ANYTHING": secret("anything"),
}


async def said_by(wire: Wire, token: str, other: str) -> list[str]:
    """Call with a secret in everything that a caller writes; gives all that is answered to somebody else than it."""
    answers: list[Answer] = []
    jwt = f"eyJhbGciOiJSUzI1NiJ9.{secret('jwtclaims')}.{secret('jwtsignature')}"
    tokens = (secret("token"), f"am_{secret('pre')[:8]}_{secret('bearer')}", jwt, f"{token}{secret('suffix')}")
    headers, body = modern("tools/list", {})
    for given, path in itertools.product(tokens, ("/mcp", "/sse", f"/messages/?session_id={secret('session')}")):
        answers.append(await wire.request("POST", path, [bearer(given), *headers], body))
        answers.append(await wire.request("GET", f"{path}&t={secret('query')}", [bearer(given)]))
    more: Headers = [
        ("X-Api-Key", secret("header")),
        ("Cookie", f"s={secret('cookie')}"),
        ("User-Agent", secret("agent")),
        ("Last-Event-Id", secret("event")),
        ("Baggage", f"k={secret('baggage')}"),
        ("Traceparent", f"00-{secret('trace')}-00"),
    ]
    for tool, arguments in (
        ("send", {"to": "bob", "message": {secret("contentkey"): secret("content")}, "key": secret("key")}),
        ("send", {"to": secret("recipient"), "message": secret("content")}),
        ("send_and_wait", {"to": "bob", "message": secret("question"), "wait_seconds": 0}),
        ("reply", {"question": secret("handle"), "message": secret("answer")}),
        ("check_inbox", {"after": secret("cursor")}),
        ("create_meeting", {"title": secret("title"), "agenda": secret("agenda"), "agents": ["bob"]}),
        ("speak", {"meeting": secret("meeting"), "turn": secret("turn"), "message": secret("speech")}),
        ("list_agents", {"query": secret("search")}),
        (secret("tool"), {secret("argument"): secret("value")}),
    ):
        params = {"name": tool, "arguments": arguments, "_meta": {secret("meta"): secret("metavalue")}}
        await wire.call(token, "tools/call", params, more)
    await wire.call(token, secret("method"), {secret("param"): 1}, more)
    await wire.call(token, "resources/read", {"uri": f"messaging://conversations/{secret('uri')}"}, more)
    await wire.call(token, "prompts/get", {"name": secret("prompt"), "arguments": {secret("name"): "x"}}, more)
    opening, first = initialize(secret("client"))
    await wire.request("POST", "/mcp", [bearer(token), *opening, *more], first)
    kinds = [("Content-Type", "application/json"), ("Accept", ACCEPT), ("MCP-Protocol-Version", HANDSHAKE)]
    for raw in (calls("") | bytes_of("")).values():
        spoiled = raw.replace(b'"bob"', json.dumps(secret("raw")).encode())
        await wire.request("POST", "/mcp", [bearer(token), *kinds, ("Mcp-Session-Id", secret("id"))], spoiled)
        await wire.request("POST", f"/messages/?session_id={'0' * 32}", [bearer(token), *kinds], spoiled)
    for path in ("/healthz", "/readyz", "/metrics", f"/{secret('path')}"):
        answers.append(await wire.request("GET", path, [bearer(other)]))
    # What others are told, and may have nothing of it: presence, directory, an empty inbox.
    answers.append(await wire.call(other, "tools/call", {"name": "list_agents", "arguments": {}}))
    answers.append(await wire.call(other, "tools/call", {"name": "check_inbox", "arguments": {}}))
    return [f"{answer.headers} {answer.text}" for answer in answers]


@pytest.mark.requirement("logs:canaries")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("form", ["text", "json"])
async def test_no_secret_is_in_anything_that_a_server_says(dsn: str, form: str) -> None:
    tokens = await tokens_of(dsn, "alice", "bob", "carol")
    served = Served(
        with_password(dsn),
        AGENT_MESSAGING_LOG_LEVEL="debug",
        AGENT_MESSAGING_LOG_FORMAT=form,
        AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE="100000",
        PYTHONDEVMODE="1",
        PYTHONASYNCIODEBUG="0",
        **ENVIRONMENT,
    ) if form == "text" else None  # fmt: skip
    said: list[str] = []
    log = ""
    if served is not None:
        try:
            await served.start()
            said = await said_by(Wire(served.address), tokens["alice"], tokens["carol"])
            await served.stop()
        finally:
            log = served.log
            await served.kill()
    else:
        said, log = await json_server(with_password(dsn), tokens)
    leaks = found_in([*said, *log.splitlines()])
    leaks += [line for line in log.splitlines() if any(t.split("_", 2)[2] in line for t in tokens.values())]
    print("\n".join(leaks[:20]))
    assert len(log.splitlines()) > 20, log
    kept("R18", f"lines and answers of a server that logs {form}", tried=len(said) + len(log.splitlines()),
         broken=len(leaks))  # fmt: skip


async def json_server(dsn: str, tokens: dict[str, str]) -> tuple[list[str], str]:
    """The same of a server whose log is JSON, which says where it listens in another way."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent_messaging_mcp", "serve", "--port", "0"),
        env=environment(dsn, AGENT_MESSAGING_LOG_LEVEL="debug", AGENT_MESSAGING_LOG_FORMAT="json"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    log = ""
    try:
        async with asyncio.timeout(BOUND * 4):
            while '"url"' not in log:
                line = (await process.stderr.readline()).decode()
                assert line, log
                log += line
            url = next(json.loads(line)["url"] for line in log.splitlines() if '"url"' in line)
            reading = asyncio.create_task(process.stderr.read())
            said = await said_by(Wire(url.removesuffix("/mcp")), tokens["alice"], tokens["carol"])
            process.terminate()
            log += (await reading).decode()
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return said, log


def environment(dsn: str, **more: str) -> dict[str, str]:
    return {
        "DATABASE_URL": dsn,
        "PATH": os.environ.get("PATH", ""),
        "AGENT_MESSAGING_RATE_LIMIT_PER_MINUTE": "100000",
        **ENVIRONMENT,
        **more,
    }


NOWHERE = f"postgresql://nobody:{secret('nowhere')}@127.0.0.1:1/none"
BROKEN: dict[str, dict[str, str]] = {
    "no database there": {"DATABASE_URL": NOWHERE},
    "an address that cannot be read": {"DATABASE_URL": f"postgresql://u:{secret('p')}@[::1/none"},
    "a port that is none": {"DATABASE_URL": f"postgresql://u:{secret('p')}@h:{secret('port')}/none"},
    "another scheme": {"DATABASE_URL": f"mysql://u:{secret('p')}@h/none"},
    "a wrong parameter": {"DATABASE_URL": f"postgresql://u:{secret('p')}@127.0.0.1:1/n?sslmode={secret('mode')}"},
    "no listener there": {"LISTEN_DATABASE_URL": NOWHERE},
    "fields": {"DATABASE_URL": "", "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1"},
    "an issuer": {"OAUTH_ISSUER": f"https://u:{secret('p')}@i.example.org", "OAUTH_AUDIENCE": secret("audience")},
    "an issuer that is none": {"OAUTH_ISSUER": f"http://{secret('issuer')}", "OAUTH_AUDIENCE": "x"},
    "a pool size that is none": {"MAX_POOL_SIZE": secret("size")},
    "a level that is none": {"AGENT_MESSAGING_LOG_LEVEL": secret("level")},
}
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("doctor",),
    ("doctor", "--json"),
    ("token", "list", "--json"),
    ("token", "revoke", f"am_{secret('x')[:8]}_{secret('token')}"),
    ("agent", "list", "--json"),
    ("serve", "--port", "0"),
    ("database", "status"),
)


async def printed(dsn: str, command: tuple[str, ...], more: dict[str, str]) -> str:
    """What a command prints, whatever becomes of it; one that serves is ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "agent_messaging_mcp", *command),
        env=environment(dsn, DATABASE_PATIENCE="0", AGENT_MESSAGING_LOG_LEVEL="debug", **more)
        if "AGENT_MESSAGING_LOG_LEVEL" not in more
        else environment(dsn, DATABASE_PATIENCE="0", **more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = b""
    try:
        async with asyncio.timeout(BOUND):
            async for line in process.stdout:
                said += line
                if b"could not be opened" in line or b"issuer" in line.lower():
                    process.terminate()
                elif b"Listening" in line:
                    asyncio.get_running_loop().call_later(2, _end, process)
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return said.decode(errors="replace")


def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()


@pytest.mark.requirement("logs:canaries")
@pytest.mark.timeout(900)
async def test_no_secret_is_in_anything_that_a_command_prints(dsn: str) -> None:
    await tokens_of(dsn, "alice")
    cases = [
        (name, command, more)
        for number, (name, more) in enumerate({"": {}, **BROKEN}.items())
        for command in (COMMANDS if THOROUGH else [COMMANDS[number % len(COMMANDS)]])
        if THOROUGH or number % 2
    ]
    cases += [] if THOROUGH else [("an issuer", ("doctor", "--json"), BROKEN["an issuer"])]
    leaks: list[str] = []
    silent: list[str] = []
    running = asyncio.Semaphore(2)

    async def one(name: str, command: tuple[str, ...], more: dict[str, str]) -> None:
        async with running:
            said = await printed(with_password(dsn), command, more)
        shown = " ".join(command)
        if leak := found_in([said]):
            leaks.append(f"{name}, {shown}: {leak}")
        if "Traceback" in said:
            leaks.append(f"{name}, {shown}: {said[-400:]}")
        if not said.strip():
            silent.append(f"{name}, {shown}")

    await asyncio.gather(*(one(*case) for case in cases))
    print("\n".join(leaks[:20]))
    assert silent == []
    kept("R18", "commands with secrets in their configuration", tried=len(cases), broken=len(leaks))


CRASH = """
import asyncio, sys, threading
from agent_messaging_mcp import logs
logs.configure("debug", "{form}")
secret = sys.argv[1]
class Refused(Exception): pass
def fails(password=secret):
    raise Refused(f"postgresql://u:{{password}}@h/d", {{"token": password}})
thread = threading.Thread(target=fails); thread.start(); thread.join()
async def main():
    task = asyncio.create_task(asyncio.to_thread(fails))
    await asyncio.wait([task]); del task
    import gc; gc.collect()
    await asyncio.sleep(0)
asyncio.run(main())
import warnings; warnings.warn(f"about {{secret}}: {{secret}}")
try:
    fails()
except Refused as first:
    raise ValueError(secret) from first
"""


@pytest.mark.requirement("logs:canaries")
@pytest.mark.parametrize("form", ["text", "json"])
async def test_a_crash_tells_where_and_of_which_kind_and_nothing_else(form: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", CRASH.format(form=form), secret("crash")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(BOUND):
        said, _ = await process.communicate()
    text = said.decode()
    assert process.returncode == 1
    assert "ValueError" in text
    assert "Refused" in text
    leaks = found_in(text.splitlines())
    print(text)
    kept("R18", f"crashes, logged as {form}", tried=len(text.splitlines()), broken=len(leaks))
