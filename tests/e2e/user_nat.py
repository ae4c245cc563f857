"""A NAT in this process, on loopback: clients reach a server through it, from ports that change."""

from __future__ import annotations

import asyncio
import re
import socket

Client = tuple[str, int]


class UserNat:
    """Every client of `port` has a socket of its own towards the server, until `rebind`."""

    def __init__(self, server: Client) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inside.bind(("127.0.0.1", 0))
        self._inside.setblocking(False)
        self._outside: dict[Client, socket.socket] = {}
        self._loop.add_reader(self._inside.fileno(), self._on_client)

    @property
    def port(self) -> int:
        """Where clients send to."""
        return int(self._inside.getsockname()[1])

    def behind(self, sdp: str) -> str:
        """The answer with this NAT's port in its candidates, and without TCP."""
        sdp = re.sub(r"a=candidate:\d+ 1 tcp [^\r\n]*\r\n", "", sdp)
        return sdp.replace(f"127.0.0.1 {self._server[1]} typ", f"127.0.0.1 {self.port} typ")

    def rebind(self) -> None:
        """All mappings are forgotten: what the server still sends to them is lost."""
        for sock in self._outside.values():
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._outside.clear()

    def close(self) -> None:
        """Ends everything."""
        self.rebind()
        self._loop.remove_reader(self._inside.fileno())
        self._inside.close()

    def _on_client(self) -> None:
        while True:
            try:
                data, client = self._inside.recvfrom(2_000)
            except OSError:
                return
            self._send(self._mapping(client), data)

    def _mapping(self, client: Client) -> socket.socket:
        if client not in self._outside:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.connect(self._server)
            self._outside[client] = sock
            self._loop.add_reader(sock.fileno(), self._on_server, sock, client)
        return self._outside[client]

    def _on_server(self, sock: socket.socket, client: Client) -> None:
        while True:
            try:
                data = sock.recv(2_000)
            except OSError:
                return
            self._inside.sendto(data, client)

    @staticmethod
    def _send(sock: socket.socket, data: bytes) -> None:
        try:
            sock.send(data)
        except OSError:
            return  # as on any network
