"""The process that decodes stills: reads them from standard input, writes small WebP pictures.

It decodes what strangers sent, so it locks itself in before it reads a byte: limits of memory, CPU
and files by setrlimit, and on Linux (x86-64, arm64) a seccomp filter under which sockets, opening
files, new processes and other programs are refused, also to root. `READY` says which of these hold.
"""

from __future__ import annotations

import ctypes
import io
import platform
import resource
import struct
import sys
from typing import Any, BinaryIO, Final

import av
from PIL import Image

from media.still import STILL_BYTES_MAX, STILL_CODECS

REQUEST: Final = struct.Struct("!BI")
REPLY: Final = struct.Struct("!I")
LOCKED, LIMITED = b"L", b"l"
"""The first byte that the child writes: with a system call filter, or with limits alone."""

WIDTH_PX: Final = 320
"""A card's picture; twice its size on a phone would cost four times the bytes."""
PIXELS_MAX: Final = 4_096 * 2_304
"""4K. What claims to be larger is not even allocated."""
WEBP_QUALITY: Final = 70
MEMORY_BYTES_MAX: Final = 768 << 20
"""Address space: the interpreter and libraries take about 400 MB of it, a 4K frame 40 MB."""
CPU_S_MAX: Final = 600
"""Then the kernel ends it and a fresh one is started: 600 s are some 30,000 pictures."""

_ALLOW, _DENY = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM
_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_DENIED: Final = {
    # socket…connect, sendto, socketpair; clone, fork, vfork, execve; open, openat, creat; ptrace;
    # kill, tkill, tgkill; io_uring; execveat; clone3; openat2; memfd, bpf; unlink, rename, mount.
    "x86_64": (
        *(41, 42, 43, 44, 49, 50, 53, 288),
        *(56, 57, 58, 59, 322, 435),
        *(2, 85, 257, 437, 319, 82, 87, 263, 264, 316, 165),
        *(101, 62, 200, 234, 425, 426, 427, 321),
    ),
    "aarch64": (
        *(198, 199, 200, 201, 202, 203, 206, 242),
        *(220, 221, 281, 435),
        *(56, 437, 279, 35, 38, 276, 40),
        *(117, 129, 130, 131, 425, 426, 427, 280),
    ),
}


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def limit() -> None:
    """Memory, CPU, no file that grows, no further file, no core dump."""
    for what, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES_MAX),
        (resource.RLIMIT_CPU, CPU_S_MAX),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 3),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (value, value))


def filter_calls() -> bool:
    """Refuse the calls on the list from now on; False where this is not possible."""
    machine = platform.machine()
    denied = _DENIED.get(machine)
    if denied is None or sys.platform != "linux":
        return False
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    steps = [(load, 0, 0, 4), (equal, 1, 0, _AUDIT_ARCH[machine]), (give, 0, 0, _DENY)]
    steps += [(load, 0, 0, 0), (at_least, 0, 1, 0x40000000), (give, 0, 0, _DENY)]  # x32 calls
    for number in denied:
        steps += [(equal, 0, 1, number), (give, 0, 0, _DENY)]
    steps.append((give, 0, 0, _ALLOW))
    program = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    libc = ctypes.CDLL(None, use_errno=True)
    wrapped = _Program(len(steps), program)
    no_new_privileges, set_seccomp, by_filter = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) != 0:
        return False
    filtered: int = libc.prctl(set_seccomp, by_filter, ctypes.byref(wrapped), 0, 0)
    return filtered == 0


def picture(codec: str, data: bytes) -> bytes:
    """The still as a small WebP; whatever the decoder raises comes out."""
    context: Any = av.CodecContext.create(codec, "r")
    context.thread_count = 1
    context.options = {"max_pixels": str(PIXELS_MAX)}
    frames = context.decode(av.Packet(data)) or context.decode(None)
    # A thread would be a new process to the filter: one decodes, and the same one scales.
    image: Image.Image = frames[0].to_image(threads=1)
    image.thumbnail((WIDTH_PX, 4 * WIDTH_PX))
    return _webp(image)


def _webp(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "WEBP", quality=WEBP_QUALITY)
    return written.getvalue()


def _warm_up() -> None:
    """Load what is loaded late: afterwards no file can be opened any more."""
    _webp(Image.new("RGB", (2, 2)))
    for codec in STILL_CODECS:
        av.CodecContext.create(codec, "r")
    frame: Any = av.VideoFrame(16, 16, "yuv420p")
    frame.to_image(threads=1)


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """One answer for each request, an empty one for what is no picture, until the pipe ends."""
    while len(head := source.read(REQUEST.size)) == REQUEST.size:
        number, size = REQUEST.unpack(head)
        if size > STILL_BYTES_MAX or number >= len(STILL_CODECS):
            return
        data = source.read(size)
        try:
            made = picture(STILL_CODECS[number], data)
        except Exception:  # noqa: BLE001 whatever a hostile picture breaks is just no picture
            made = b""
        sink.write(REPLY.pack(len(made)) + made)
        sink.flush()


def main() -> None:
    """The process."""
    av.logging.set_level(None)
    _warm_up()
    limit()
    sys.stdout.buffer.write(LOCKED if filter_calls() else LIMITED)
    sys.stdout.buffer.flush()
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
