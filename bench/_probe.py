"""A WHIP or WHEP client that costs almost nothing once connected: STUN, DTLS and SRTP, no more.

A load generator must stay cheaper than the server it loads: packets are counted by their clear
header without being decrypted, many with one system call; only a sample is decrypted for stamps.
"""

from __future__ import annotations

import datetime
import os
import re
import secrets
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

import cffi
from aioice import stun
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from pylibsrtp import Policy, Session

PROFILE = b"SRTP_AEAD_AES_128_GCM"
KEY_BYTES, SALT_BYTES = 16, 12
HANDSHAKE_TIMEOUT_S = 5.0
RETRY_S = 0.25
FULL_AGENT_S = 0.02
"""From the answer to its check until it is ready for DTLS; a flight too early costs a second."""
DATAGRAM_BYTES_MAX = 1_200
RECEIVE_BUFFER_BYTES = 1 << 20
"""Half a second of video, so that a late generator does not look like a lossy server."""
HEAD_BYTES = 16
BATCH = 64
SO_TIMESTAMPNS = 35

_ffi = cffi.FFI()
_ffi.cdef(
    """
    struct iovec { void *iov_base; size_t iov_len; };
    struct msghdr {
        void *msg_name; uint32_t msg_namelen;
        struct iovec *msg_iov; size_t msg_iovlen;
        void *msg_control; size_t msg_controllen;
        int msg_flags;
    };
    struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
    int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, void *timeout);
    """
)
_libc: Any = _ffi.dlopen(None)


class Heads:
    """Takes the first bytes of many datagrams with one call; one for all probes."""

    def __init__(self) -> None:
        self._storage = _ffi.new("char[]", BATCH * HEAD_BYTES)
        self._iovecs = _ffi.new("struct iovec[]", BATCH)
        self._messages = _ffi.new("struct mmsghdr[]", BATCH)
        for slot in range(BATCH):
            self._iovecs[slot].iov_base = self._storage + slot * HEAD_BYTES
            self._iovecs[slot].iov_len = HEAD_BYTES
            self._messages[slot].msg_hdr.msg_iov = self._iovecs + slot
            self._messages[slot].msg_hdr.msg_iovlen = 1
        self.view = memoryview(_ffi.buffer(self._storage))

    def take(self, fd: int) -> int:
        """How many datagrams were taken; `view` holds their heads, `HEAD_BYTES` apart."""
        count = _libc.recvmmsg(fd, self._messages, BATCH, socket.MSG_DONTWAIT, _ffi.NULL)
        return max(int(count), 0)


@dataclass
class Identity:
    """One certificate for all probes: making a thousand would measure OpenSSL."""

    context: SSL.Context
    fingerprint: str

    @classmethod
    def new(cls) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "probe")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .sign(key, hashes.SHA256())
        )
        context = SSL.Context(SSL.DTLS_METHOD)
        context.use_privatekey(key)
        context.use_certificate(certificate)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        context.set_tlsext_use_srtp(PROFILE)
        return cls(context, certificate.fingerprint(hashes.SHA256()).hex(":").upper())


class Clear:
    """In place of an SRTP session: nothing is encrypted."""

    def protect(self, packet: bytes) -> bytes:
        """As it is."""
        return packet

    protect_rtcp = unprotect = unprotect_rtcp = protect


class Probe:
    """One peer connection from the far side."""

    def __init__(self, identity: Identity, address: str = "127.0.0.1") -> None:
        self._identity = identity
        self._ufrag, self._password = secrets.token_hex(4), secrets.token_hex(12)
        self._remote_ufrag = self._remote_password = ""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.bind((address, 0))
        self.fd = self.socket.fileno()
        port = self.socket.getsockname()[1]
        self._candidate = f"a=candidate:1 1 udp 2130706431 {address} {port} typ host"
        self.ssrcs: list[int] = []
        self.tx: Session | Clear
        self.rx: Session | Clear

    def close(self) -> None:
        self.socket.close()

    def offer(self, direction: str, ssrcs: tuple[int, int]) -> str:
        """An offer with Opus and VP8, like a browser's but shorter."""
        common = (
            "c=IN IP4 0.0.0.0\r\na=rtcp-mux\r\n"
            f"a=ice-ufrag:{self._ufrag}\r\na=ice-pwd:{self._password}\r\n"
            f"a=fingerprint:sha-256 {self._identity.fingerprint}\r\na=setup:actpass\r\n"
            f"a={direction}\r\n"
            f"{self._candidate}\r\na=end-of-candidates\r\n"
            "a=extmap:3 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n"
        )
        names = [""] * 2
        if direction == "sendonly":
            names = [f"a=ssrc:{ssrc} cname:probe\r\n" for ssrc in ssrcs]
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n"
            "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n" + common + "a=mid:0\r\n"
            "a=rtpmap:111 opus/48000/2\r\n"
            + names[0]
            + "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n"
            + common
            + "a=mid:1\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n"
            "a=rtcp-fb:96 goog-remb\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n" + names[1]
        )

    def answer(self, offer: str) -> str:
        """An answer that takes every section of the offer, as it is offered, for receiving."""
        head, *sections = offer.replace("\r\n", "\n").split("\nm=")
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
        lines += [line for line in head.split("\n") if line.startswith("a=group")]
        for section in sections:
            first, *rest = section.strip().split("\n")
            kept = ("a=mid", "a=rtpmap", "a=fmtp", "a=rtcp-fb", "a=extmap", "a=rtcp-mux")
            lines += [
                f"m={first}",
                "c=IN IP4 0.0.0.0",
                *(line for line in rest if line.startswith(kept)),
                f"a=ice-ufrag:{self._ufrag}",
                f"a=ice-pwd:{self._password}",
                f"a=fingerprint:sha-256 {self._identity.fingerprint}",
                "a=setup:active",
                "a=recvonly",
                self._candidate,
                "a=end-of-candidates",
            ]
        return "\r\n".join(lines) + "\r\n"

    def connect(self, answer: str, *, full_agent: bool = False) -> None:
        """ICE check and DTLS handshake; RuntimeError when they do not succeed in time.

        `answer` is the other side's description, which may have been an offer. `full_agent` says
        that it checks us too, and takes no DTLS before that.
        """
        self._remote_ufrag = _field(answer, r"a=ice-ufrag:(\S+)")
        self._remote_password = _field(answer, r"a=ice-pwd:(\S+)")
        host, port = re.findall(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+)", answer, re.I)[0]
        self.ssrcs = [int(number) for number in dict.fromkeys(re.findall(r"a=ssrc:(\d+)", answer))]
        self.socket.connect((host, int(port)))
        self.socket.settimeout(RETRY_S)
        self._check_until_answered(full_agent)
        self._handshake()
        self.socket.setblocking(False)

    def attach(
        self, address: tuple[str, int], key: bytes | None = None, ssrcs: tuple[int, ...] = ()
    ) -> None:
        """Without ICE and DTLS, to a server that knows us already; in clear but for `key`."""
        self.socket.connect(address)
        self.socket.setblocking(False)
        self.ssrcs = list(ssrcs)
        self.tx = Clear()
        self.rx = Clear() if key is None else _session(key, Policy.SSRC_ANY_INBOUND)

    def keep_alive(self) -> None:
        """One connectivity check: it renews the server's consent (RFC 7675)."""
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{self._remote_ufrag}:{self._ufrag}"
        request.attributes["PRIORITY"] = 2_130_706_431
        request.attributes["ICE-CONTROLLING"] = 1
        request.attributes["USE-CANDIDATE"] = None
        request.add_message_integrity(self._remote_password.encode())
        self.socket.send(bytes(request))

    def _check_until_answered(self, full_agent: bool) -> None:
        answered = False
        deadline = time.monotonic() + HANDSHAKE_TIMEOUT_S
        while time.monotonic() < deadline:
            self.keep_alive()
            try:
                data = self.socket.recv(2_048)
                answered = answered or data[0] == 1  # a binding success response
                if self._answer_check(data) and full_agent:
                    time.sleep(FULL_AGENT_S)
                    return
                if answered and not full_agent:
                    return
            except TimeoutError:
                continue
        raise RuntimeError("no answer to connectivity checks")

    def _answer_check(self, data: bytes) -> bool:
        """A full agent wants its own checks answered; True when this was one."""
        if data[:2] != b"\x00\x01":
            return False
        request = stun.parse_message(data)
        response = stun.Message(
            stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request.transaction_id
        )
        response.attributes["XOR-MAPPED-ADDRESS"] = self.socket.getpeername()
        response.add_message_integrity(self._password.encode())
        self.socket.send(bytes(response))
        return True

    def _handshake(self) -> None:
        dtls = SSL.Connection(self._identity.context, None)
        dtls.set_connect_state()
        dtls.set_ciphertext_mtu(DATAGRAM_BYTES_MAX)
        deadline = time.monotonic() + HANDSHAKE_TIMEOUT_S
        while True:
            try:
                dtls.do_handshake()
                break
            except SSL.WantReadError:
                self._send_flight(dtls)
            if time.monotonic() > deadline:
                raise RuntimeError("the DTLS handshake did not finish")
            try:
                datagram = self.socket.recv(2_048)
            except TimeoutError:
                # Whoever was not ready for the first check or flight hears them again.
                self.keep_alive()
                dtls.DTLSv1_handle_timeout()
                self._send_flight(dtls)
                continue
            self._answer_check(datagram)
            if 20 <= datagram[0] <= 63:
                dtls.bio_write(datagram)
        self._send_flight(dtls)
        material = dtls.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (KEY_BYTES + SALT_BYTES))
        keys, salts = material[: 2 * KEY_BYTES], material[2 * KEY_BYTES :]
        mine = keys[:KEY_BYTES] + salts[:SALT_BYTES]
        theirs = keys[KEY_BYTES:] + salts[SALT_BYTES:]
        self.tx = _session(mine, Policy.SSRC_ANY_OUTBOUND)
        self.rx = _session(theirs, Policy.SSRC_ANY_INBOUND)

    def _send_flight(self, dtls: SSL.Connection) -> None:
        """Whole records, as many as fit a datagram."""
        pending = b""
        try:
            while True:
                pending += dtls.bio_read(65_536)
        except SSL.WantReadError:
            pass
        datagram = b""
        while pending:
            size = 13 + int.from_bytes(pending[11:13], "big")
            record, pending = pending[:size], pending[size:]
            if datagram and len(datagram) + size > DATAGRAM_BYTES_MAX:
                self.socket.send(datagram)
                datagram = b""
            datagram += record
        if datagram:
            self.socket.send(datagram)

    def report(self, bitrate_bps: int) -> None:
        """A receiver report and a REMB, as a browser sends every second."""
        receiver = struct.pack("!BBHI", 0x80, 201, 1, 1)
        exponent = max(bitrate_bps.bit_length() - 18, 0)
        value = 1 << 24 | exponent << 18 | bitrate_bps >> exponent
        remb = struct.pack("!BBHII4sII", 0x8F, 206, 5, 1, 0, b"REMB", value, self.ssrcs[-1])
        self.socket.send(self.tx.protect_rtcp(receiver + remb))

    def received(self) -> list[tuple[bytes, int]]:
        """Every datagram with the kernel's time of arrival in ns since the epoch."""
        found: list[tuple[bytes, int]] = []
        while True:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(2_048, 64)
            except BlockingIOError:
                return found
            seconds, nanoseconds = struct.unpack("@qq", ancillary[0][2])
            found.append((data, seconds * 1_000_000_000 + nanoseconds))


def _session(key: bytes, direction: int) -> Session:
    policy = Policy(key=key, ssrc_type=direction, srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM)
    policy.window_size = 1_024
    return Session(policy)


def _field(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"the answer has no {pattern}")
    return found[1]


def random_filler(size: int) -> bytes:
    """Bytes that nothing can compress."""
    return os.urandom(size)
