"""The socket under clients that are idle, slow, many, or send what it does not take."""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from descriptors import held_files
from hypothesis import given
from hypothesis import strategies as st

from envtrail.errors import CannotRunError, UsageError
from envtrail.service.connections import MAX_REQUEST_BYTES, Connection, GoneError, Limits, Peer, SocketListener
from envtrail.service.rates import Allowance, Turns

ME = Peer(pid=os.getpid(), uid=os.geteuid(), gid=os.getegid())
Serve = Callable[..., Path]


def echo(connection: Connection) -> None:
    try:
        connection.say(connection.read_request().decode())
    except CannotRunError as fault:
        connection.say_fault(fault)
    connection.flush()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def made(handle: Callable[[Connection], None] = echo, *, trusted: bool = False, **limits: float) -> Path:
            path = tmp_path / "s.sock"
            listener = SocketListener(path, handle, Limits(**limits), lambda _: trusted)  # type: ignore[arg-type]
            stack.callback(listener.close)
            return path

        yield made


@contextlib.contextmanager
def client(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(10)
        stream.connect(str(path))
        yield stream


def ask(path: Path, line: bytes = b'"hello"\n') -> object:
    with client(path) as stream:
        with contextlib.suppress(BrokenPipeError):
            stream.sendall(line)
        with stream.makefile("rb") as lines:
            return json.loads(lines.readline())


def fault_of(answer: object) -> str:
    assert isinstance(answer, dict), answer
    return f"{answer['error']['message']} ({answer['error']['hint']})"


def await_answer(path: Path, wanted: object) -> None:
    deadline = time.monotonic() + 10
    while (found := ask(path)) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


class TestHowMany:
    def test_one_user_has_so_many_and_is_told_so(self, serve: Serve) -> None:
        path = serve(each=3)
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(client(path))
            assert "has 3 connections to the service open already (close some" in fault_of(ask(path))
        await_answer(path, '"hello"')

    def test_root_and_the_page_are_answered_where_others_are_too_many(self, serve: Serve) -> None:
        path = serve(each=3, connections=4, trusted=True)
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(client(path))
            assert ask(path) == '"hello"'

    def test_all_users_together_have_so_many(self, serve: Serve) -> None:
        path = serve(connections=4)
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(client(path))
            assert "has 3 connections open already" in fault_of(ask(path))

    def test_a_thousand_idle_connections_of_one_user_end_nothing(self, serve: Serve, tmp_path: Path) -> None:
        path = serve()
        code = (
            "import resource, socket, sys\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))\n"
            "held = []\n"
            "for _ in range(1018):\n"
            "    held.append(socket.socket(socket.AF_UNIX)); held[-1].connect(sys.argv[1])\n"
            "refused = sum(b'error' in one.recv(400) for one in held[32:])\n"
            "print(refused, flush=True); sys.stdin.read()\n"
        )
        words = [sys.executable, "-c", code, str(path)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as crowd:
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == "986\n"
            before = time.process_time()
            time.sleep(1)
            assert time.process_time() - before < 0.3, "the thread that accepts spins"
            assert len([target for target in held_files().values() if target.startswith("socket:")]) < 100
            crowd.communicate()
        await_answer(path, '"hello"')

    def test_a_process_without_a_descriptor_left_waits_and_goes_on(self, tmp_path: Path) -> None:
        code = (
            "import os, resource, sys, time\n"
            "from pathlib import Path\n"
            "from envtrail.service.connections import Limits, SocketListener\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
            "def echo(one): one.say(one.read_request().decode()); one.flush()\n"
            "listener = SocketListener(Path(sys.argv[1]), echo, Limits(), lambda _: False)\n"
            "held = []\n"
            "try:\n"
            "    while True: held.append(os.open('/dev/null', os.O_RDONLY))\n"
            "except OSError: print('full', flush=True)\n"
            "sys.stdin.readline()\n"
            "print(time.process_time(), flush=True)\n"
            "for one in held: os.close(one)\n"
            "sys.stdin.readline()\n"
        )
        path = tmp_path / "s.sock"
        words = [sys.executable, "-c", code, str(path)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            assert server.stdout.readline() == "full\n"
            before = _cpu_s(server.pid)
            # The call of accept(2) that waits has its descriptor already.
            with client(path), ThreadPoolExecutor(1) as pool:
                answered = pool.submit(ask, path)
                time.sleep(1)
                assert not answered.done()
                assert _cpu_s(server.pid) - before < 0.3, "the thread that accepts spins"
                server.stdin.write("\n")
                server.stdin.flush()
                assert answered.result(10) == '"hello"'
            server.stdin.close()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class TestHowLong:
    @pytest.mark.parametrize("is_dripping", [False, True])
    def test_a_request_that_does_not_come_is_given_up(self, serve: Serve, is_dripping: bool) -> None:
        path = serve(request_s=0.5)
        began = time.monotonic()
        with client(path) as stream:
            stream.settimeout(0.05)
            answer = b""
            while not answer:
                assert time.monotonic() - began < 5
                with contextlib.suppress(TimeoutError):
                    answer = stream.recv(400)
                if is_dripping and not answer:
                    with contextlib.suppress(BrokenPipeError):
                        stream.send(b"x")
        assert "no complete request arrived within 0.5 s" in fault_of(json.loads(answer))

    def test_an_answer_that_nobody_takes_is_given_up(self, serve: Serve) -> None:
        ended = threading.Event()

        def talk(connection: Connection) -> None:
            try:
                while True:
                    connection.say("x" * 100_000)
            except GoneError:
                ended.set()
                raise

        path = serve(talk, send_s=0.3)
        with client(path):
            assert ended.wait(5)

    def test_a_whole_answer_has_an_end(self, serve: Serve) -> None:
        ended = threading.Event()

        def talk(connection: Connection) -> None:
            connection.read_request()
            try:
                while True:
                    connection.say("x" * 100_000)
            except GoneError:
                ended.set()
                raise

        path = serve(talk, answer_s=0.5)
        with client(path) as stream:
            stream.sendall(b"\n")
            while not ended.is_set() and stream.recv(4096):
                time.sleep(0.01)
        assert ended.wait(5)


class TestWhatIsTaken:
    @pytest.fixture
    def pair(self) -> Iterator[tuple[socket.socket, Connection]]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:
            yield theirs, Connection(ours, ME, Limits(request_s=2))

    def test_a_descriptor_is_refused_and_never_ours(self, pair: tuple[socket.socket, Connection], tmp_path: Path) -> None:
        theirs, connection = pair
        with (tmp_path / "module.py").open("w") as file:
            number = file.fileno()
            theirs.sendmsg([b"{}\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [number] * 20))])
            with pytest.raises(UsageError, match="file descriptors"):
                connection.read_request()
            assert [held for held, target in held_files().items() if target == file.name] == [number]

    def test_over_the_socket_it_is_refused_by_the_kernel_or_by_us(self, serve: Serve, tmp_path: Path) -> None:
        path = serve(lambda one: one.say(one.read_request().decode()))
        with (tmp_path / "module.py").open("w") as file, client(path) as stream:
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()]))]
            try:
                stream.sendmsg([b'"hello"\n'], passed)
            except PermissionError:
                return  # SO_PASSRIGHTS
            assert stream.recv(100) == b""

    def test_a_request_has_an_end(self, pair: tuple[socket.socket, Connection]) -> None:
        theirs, connection = pair
        sender = threading.Thread(target=lambda: theirs.sendall(b"x" * (MAX_REQUEST_BYTES + 1)), daemon=True)
        sender.start()
        with pytest.raises(UsageError, match="longer than 65536 bytes"):
            connection.read_request()
        sender.join()

    def test_who_leaves_asks_nothing(self, pair: tuple[socket.socket, Connection]) -> None:
        theirs, connection = pair
        theirs.close()
        assert connection.read_request() == b""


class TestShares:
    @given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 20)), max_size=60))
    def test_nobody_takes_more_than_what_came_back_and_what_added_up(self, steps: list[tuple[float, float]]) -> None:
        now = [0.0]
        allowance = Allowance(per_s=2, most=10, clock=lambda: now[0])
        taken = 0.0
        for at, (gap, amount) in enumerate(steps):
            now[0] += gap
            wait_s = allowance.take("eve", amount)
            if wait_s == 0:
                taken += min(amount, 10)
            assert taken <= 10 + 2 * now[0] + 1e-6
            now[0] += wait_s
            if wait_s > 0:
                rest = min(amount, 10) - 1e-6
                assert allowance.take("eve", rest) == 0, "the reported wait is enough"
                taken += rest
            assert allowance.take(at, 10) == 0, "others have their own"

    def test_it_remembers_no_more_than_it_has_room_for(self) -> None:
        allowance = Allowance(per_s=1, most=1)
        for at in range(20_000):
            allowance.take(at, 1)
        assert len(allowance._left) == 10_000

    def test_so_many_hold_a_turn_at_once_and_the_others_get_theirs(self) -> None:
        turns = Turns(together=2, each=1, wait_s=10)
        lock, held, most = threading.Lock(), {"eve": 0, "bob": 0, "ann": 0}, [0, 0]

        def work(name: str) -> None:
            with turns.turn(name):
                with lock:
                    held[name] += 1
                    most[0], most[1] = max(most[0], sum(held.values())), max(most[1], *held.values())
                time.sleep(0.02)
                with lock:
                    held[name] -= 1

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(work, list(held) * 4))
        assert most == [2, 1]

    def test_who_waits_too_long_is_notified(self) -> None:
        turns = Turns(together=1, each=1, wait_s=0.05)
        with turns.turn("eve"), pytest.raises(CannotRunError, match="maximum number of such queries"), turns.turn("bob"):
            pass
        with turns.turn("bob"):
            pass


def test_an_error_is_one_line_of_json() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        connection = Connection(ours, ME, Limits())
        connection.say_fault(UsageError('a "word"\nand another', hint=None))
        connection.flush()
        line = theirs.recv(1000)
    assert line.count(b"\n") == 1
    assert msgspec.json.decode(line)["error"]["message"] == 'a "word"\nand another'
