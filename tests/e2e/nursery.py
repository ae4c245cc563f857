"""A process that has imported the product, and forks a `parlour` for each order.

Nine tenths of a server's start are imports, and the tests start some seventy. What runs is the real
command line in a process of its own, with nobody's memory but its own; `test_serve.py` starts the
same command as a person does.

As a program this is the nursery: an order is a packet on its standard input, with the child's
standard output. It answers with the child's id, and tells of each end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

REPO = Path(__file__).resolve().parents[2]
ORDER_BYTES_MAX = 65_536
"""Arguments and environment."""
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1


class Order(TypedDict):
    """What is wanted."""

    arguments: list[str]
    environ: dict[str, str]
    namespace: str
    """Of the network; empty: this one."""
    says_errors: bool
    """Whether what it says on standard error goes where its output goes, or nowhere."""


class Offspring:
    """A forked `parlour`: what `asyncio.subprocess.Process` is to one that was started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stdout = asyncio.StreamReader()
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    def end(self, returncode: int) -> None:
        """The nursery says so."""
        self.returncode = returncode
        self._ended.set()

    async def wait(self) -> int:
        """Its exit code; the negative number of the signal that killed it."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """A signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The tests' end, on one event loop."""

    def __init__(self) -> None:
        self._socket, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tests.e2e.nursery"], cwd=REPO, stdin=inside
        )
        inside.close()
        self._born: asyncio.Queue[Offspring | None] = asyncio.Queue()
        self._alive: dict[int, Offspring] = {}
        self._socket.setblocking(False)
        self._listener = asyncio.create_task(self._listen())
        self._turn = asyncio.Lock()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        while said := await loop.sock_recv(self._socket, ORDER_BYTES_MAX):
            match json.loads(said):
                case {"born": pid}:
                    made = self._alive[pid] = Offspring(pid)
                    self._born.put_nowait(made)
                case {"ended": pid, "code": code}:
                    self._alive.pop(pid).end(code)
        self._born.put_nowait(None)  # it has ended: whoever waits for a birth shall hear of it

    async def birth(
        self,
        *arguments: str,
        namespace: str = "",
        environ: Mapping[str, str] | None = None,
        says_errors: bool = True,
    ) -> Offspring:
        """`parlour` with these arguments, in a network namespace if one is named."""
        order = Order(
            arguments=list(arguments),
            environ=dict(os.environ | (environ or {})),
            namespace=namespace,
            says_errors=says_errors,
        )
        heard, its_output = os.pipe()
        async with self._turn:
            socket.send_fds(self._socket, [json.dumps(order).encode()], [its_output])
            os.close(its_output)
            made = await self._born.get()
            assert made is not None, "the nursery has ended"
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(made.stdout), os.fdopen(heard, "rb")
        )
        return made

    async def close(self) -> None:
        """It ends when nobody can order any more; nobody is left behind."""
        for child in tuple(self._alive.values()):
            child.kill()
            await child.wait()
        self._listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listener
        self._socket.close()
        await asyncio.to_thread(self._process.wait, 10)


def main() -> None:
    """Fork for each order, tell of each end, and end when there can be no more orders."""
    import uvloop  # noqa: F401
    from pydantic import TypeAdapter  # noqa: F401

    from signaling import app, cli, demo  # noqa: F401

    orders = socket.socket(fileno=os.dup(0))
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([orders, woken], [], [])
        if woken in ready:
            woken.recv(4_096)
            bury(orders)
        if orders not in ready:
            continue
        order, outputs, _, _ = socket.recv_fds(orders, ORDER_BYTES_MAX, 1)
        if not order:
            return
        born = os.fork()
        if not born:
            break
        os.close(outputs[0])
        orders.send(json.dumps({"born": born}).encode())
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for mine in (orders, woken, wakes):
        mine.close()
    sys.argv[1:] = begin(json.loads(order), outputs[0])
    cli.main()


def bury(orders: socket.socket) -> None:
    """Tell of everybody who has ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            orders.send(json.dumps({"ended": pid, "code": code}).encode())


def begin(order: Order, output: int) -> list[str]:
    """In the child: go where it was told to be; what it was told to do."""
    with open(os.devnull, "r+b") as nothing:
        errors = output if order["says_errors"] else nothing.fileno()
        for end, number in ((nothing.fileno(), 0), (output, 1), (errors, 2)):
            os.dup2(end, number)
    os.close(output)
    os.environ.clear()
    os.environ.update(order["environ"])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed test run takes its servers along
    if order["namespace"]:
        with open(f"/run/netns/{order['namespace']}") as inside:
            if libc.setns(inside.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
    return order["arguments"]


if __name__ == "__main__":
    main()
