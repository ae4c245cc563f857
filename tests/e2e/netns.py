"""A network namespace of the test's own, in which packets can be dropped without touching anyone.

It has loopback and one end of a virtual cable with the default route: browsers gather no
candidate on loopback alone. (A cable and no dummy interface, since not every kernel has those.)
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADDRESS = "10.77.0.1"
ADDRESS_6 = "fd77::1"
SERVER_ADDRESS, CLIENT_ADDRESS, OTHER_ADDRESS = "10.77.0.1", "10.77.0.2", "10.77.0.3"
CABLE = "cable"
CLONE_NEWNET = 0x40000000

AddrInfo = tuple[int, int, int, str, Any]
"""As `socket.getaddrinfo` gives it."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Namespace:
    """`prefix` runs a program inside; `wrap` makes a launcher script of one."""

    name: str
    folder: Path

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words to put before a command."""
        return ("ip", "netns", "exec", self.name)

    def wrap(self, program: str) -> str:
        """A script that runs the program inside, for launchers that take one path."""
        script = self.folder / f"in-{self.name}-{Path(program).name}"
        script.write_text(f'#!/bin/sh\nexec {" ".join(self.prefix)} {program} "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return str(script)

    def socket(self, address: AddrInfo) -> socket.socket:
        """A socket that lives inside, for talking from outside to a program in the namespace."""
        family, kind, protocol, _, _ = address
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as inside:
            _enter(inside.fileno())
            try:
                return socket.socket(family, kind, protocol)
            finally:
                _enter(home.fileno())

    def nft(self, *rules: str) -> None:
        """Replace all packet rules of the namespace."""
        text = "flush ruleset\n" + "\n".join(rules) + "\n"
        subprocess.run([*self.prefix, "nft", "-f", "-"], input=text, text=True, check=True)

    def narrow(self, rate_kbps: int, burst_bytes: int, wait_ms: int) -> None:
        """What leaves over the cable has to fit (tbf); what would wait longer is dropped."""
        shape = ["rate", f"{rate_kbps}kbit", "burst", f"{burst_bytes}", "latency", f"{wait_ms}ms"]
        command = [*self.prefix, "tc", "qdisc", "add", "dev", CABLE, "root", "tbf", *shape]
        subprocess.run(command, check=True)

    def lose_udp_of(self, port: int, percent: int) -> None:
        """That share of the datagrams of one UDP port vanishes, each way, until `heal`."""
        chance = f"numgen random mod 100 < {percent} drop"
        self._on_arrival(f"udp dport {port} {chance}", f"udp sport {port} {chance}")

    def cut(self, *ports: int) -> None:
        """Whatever goes to or comes from these ports vanishes until `heal`, TCP and UDP."""
        named = ", ".join(map(str, ports))
        self._on_arrival(f"th dport {{ {named} }} drop", f"th sport {{ {named} }} drop")

    def _on_arrival(self, *rules: str) -> None:
        self.nft(
            "table inet impaired {",
            "  chain input { type filter hook input priority 0; policy accept;",
            *rules,
            "  }",
            "}",
        )

    def drop_udp(self) -> None:
        """A network that lets no UDP through."""
        self.nft(
            "table inet cut {",
            "  chain input { type filter hook input priority 0; policy accept;",
            "    meta l4proto udp drop",
            "  }",
            "}",
        )

    def rebind(self, port: int, address: str) -> None:
        """A NAT gives every client of that UDP port another address, and forgets the former one.

        Stateless, both ways: what comes to the port comes from `address` now, and only what is sent
        there reaches the clients.
        """
        subprocess.run(
            ["ip", "-n", self.name, "route", "replace", "local", address, "dev", "lo"], check=True
        )
        self.nft(
            "table ip nat {",
            "  chain output { type filter hook output priority -300; policy accept;",
            f"    udp dport {port} ip saddr set {address} accept",
            f"    udp sport {port} ip daddr {address} ip daddr set {ADDRESS} accept",
            f"    udp sport {port} drop",
            "  }",
            "}",
        )

    def heal(self) -> None:
        """Let everything pass again."""
        self.nft()

    def move(self, old: str, new: str) -> None:
        """Another network: the address on the cable is gone, and another one is there."""
        inside = ("-n", self.name)
        ip(*inside, "addr", "del", f"{old}/24", "dev", CABLE)
        ip(*inside, "addr", "add", f"{new}/24", "dev", CABLE)
        ip(*inside, "route", "replace", "default", "dev", CABLE)


def ip(*words: str) -> None:
    """One command of iproute2."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@asynccontextmanager
async def cable(folder: Path) -> AsyncIterator[tuple[Namespace, Namespace]]:
    """Two namespaces with a cable between them: `SERVER_ADDRESS` here, `CLIENT_ADDRESS` there."""
    tag = f"{os.getpid():x}-{folder.name[-8:]}"
    ends = ((f"prl-s-{tag}", SERVER_ADDRESS), (f"prl-c-{tag}", CLIENT_ADDRESS))
    made: list[Namespace] = []
    try:
        for name, _ in ends:
            ip("netns", "add", name)
            made.append(Namespace(name, folder))
        first, second = (net.name for net in made)
        ip("link", "add", CABLE, "netns", first, "type", "veth", "peer", CABLE, "netns", second)
        for name, address in ends:
            inside = ("-n", name)
            ip(*inside, "addr", "add", f"{address}/24", "dev", CABLE)
            ip(*inside, "link", "set", CABLE, "up")
            ip(*inside, "link", "set", "lo", "up")
            ip(*inside, "route", "add", "default", "dev", CABLE)
        yield made[0], made[1]
    finally:
        for net in made:
            ip("netns", "del", net.name)


def _enter(namespace_fd: int) -> None:
    """setns(2) of this thread alone; a socket stays where it was made."""
    if _libc.setns(namespace_fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@asynccontextmanager
async def namespace(folder: Path) -> AsyncIterator[Namespace]:
    """A fresh namespace for the length of a test."""
    name = f"parlour-{os.getpid()}-{folder.name[-8:]}"
    run = ["ip", "netns"]
    subprocess.run([*run, "add", name], check=True)
    try:
        inside = ["ip", "-n", name]
        subprocess.run([*inside, "link", "set", "lo", "up"], check=True)
        cable = ["link", "add", "wan0", "type", "veth", "peer", "name", "wan1"]
        subprocess.run([*inside, *cable], check=True)
        subprocess.run([*inside, "link", "set", "wan1", "up"], check=True)
        subprocess.run([*inside, "addr", "add", f"{ADDRESS}/24", "dev", "wan0"], check=True)
        six = ["addr", "add", f"{ADDRESS_6}/64", "dev", "wan0", "nodad"]
        subprocess.run([*inside, *six], check=True)
        subprocess.run([*inside, "link", "set", "wan0", "up"], check=True)
        subprocess.run([*inside, "route", "add", "default", "dev", "wan0"], check=True)
        yield Namespace(name, folder)
    finally:
        subprocess.run([*run, "del", name], check=False)
