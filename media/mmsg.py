"""The kernel's calls for many datagrams at once, sendmmsg(2) and recvmmsg(2)."""

from __future__ import annotations

from typing import Any, Final

import cffi

MSG_DONTWAIT: Final = 0x40
libc_ffi = cffi.FFI()
libc_ffi.cdef(
    """
    struct iovec { void *iov_base; size_t iov_len; };
    struct msghdr {
        void *msg_name; uint32_t msg_namelen;
        struct iovec *msg_iov; size_t msg_iovlen;
        void *msg_control; size_t msg_controllen;
        int msg_flags;
    };
    struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
    int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags);
    int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, void *timeout);
    """
)
_libc: Any = libc_ffi.dlopen(None)
sendmmsg: Any = _libc.sendmmsg
recvmmsg: Any = _libc.recvmmsg
