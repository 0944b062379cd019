"""Rules of nftables as netlink messages: the few expressions that the capture of traffic needs.

The command `nft` is not on every machine, and no Python package has the expressions `tproxy` and `socket`.

Source: include/uapi/linux/netfilter/nf_tables.h.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable

PRE_ROUTING, LOCAL_OUT, POST_ROUTING = 0, 3, 4
ACCEPT, DROP = 1, 0
EQUAL, UNEQUAL = 0, 1
MARK, IN_NAME, OUT_NAME, PROTOCOL = 3, 6, 7, 16  # keys of `meta`
NETWORK, TRANSPORT = 1, 2  # bases of `payload`

NEEDED = "the kernel needs nf_tables with tproxy and socket (modules nft_tproxy and nft_socket)"
_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10
_BEGIN, _END, _ERROR = 16, 17, 2
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _NEWSET, _NEWSETELEM = 0, 2, 3, 6, 9, 12
_REQUEST, _ACK, _CREATE, _APPEND = 1, 4, 0x400, 0x800
_IPV4 = 2
_REGISTER = struct.pack(">I", 8)  # the first one of four bytes


class NetfilterError(Exception):
    """The kernel refuses the rules."""


def _attribute(kind: int, data: bytes) -> bytes:
    size = 4 + len(data)
    return struct.pack("HH", size, kind) + data + bytes(-size % 4)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack(">I", value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _nested(kind: int, *parts: bytes) -> bytes:
    return _attribute(kind | 0x8000, b"".join(parts))


def _value(kind: int, data: bytes) -> bytes:
    return _nested(kind, _attribute(1, data))


def _expression(name: str, *parts: bytes) -> bytes:
    return _nested(1, _text(1, name), _nested(2, *parts))


def _load(kind: int) -> bytes:
    return _attribute(kind, _REGISTER)


def _compare(data: bytes, how: int) -> bytes:
    return _expression("cmp", _load(1), _number(2, how), _value(3, data))


def name(value: str) -> bytes:
    """Return an interface name as the kernel compares it."""
    return value.encode().ljust(16, b"\0")


def meta(key: int, data: bytes, how: int = EQUAL) -> bytes:
    """Match a packet's metadata, such as its mark in native byte order."""
    return _expression("meta", _load(1), _number(2, key)) + _compare(data, how)


def set_mark(mark: int) -> bytes:
    """Set the packet's mark."""
    immediate = _expression("immediate", _load(1), _value(2, struct.pack("=I", mark)))
    return immediate + _expression("meta", _number(2, MARK), _load(3))


def _payload(base: int, offset: int, size: int) -> bytes:
    return _expression("payload", _load(1), _number(2, base), _number(3, offset), _number(4, size))


def payload(base: int, offset: int, data: bytes, how: int = EQUAL, mask: bytes = b"") -> bytes:
    """Match bytes of a header, after `mask`."""
    masked = b""
    if mask:
        parts = (_load(1), _load(2), _number(3, len(mask)), _value(4, mask), _value(5, bytes(len(mask))))
        masked = _expression("bitwise", *parts)
    return _payload(base, offset, len(data)) + masked + _compare(data, how)


def in_set(base: int, offset: int, size: int, of: str) -> bytes:
    """Match if bytes of a header are in the set named `of`."""
    return _payload(base, offset, size) + _expression("lookup", _text(1, of), _load(2))


def _write(offset: int) -> bytes:
    # With the checksums of the IP header (offset 10) and of the layer above.
    checksum = (_number(6, 1), _number(7, 10), _number(8, 1))
    place = (_number(2, NETWORK), _number(3, offset), _number(4, 4))
    return _expression("payload", _load(5), *place, *checksum)


def set_source(address: bytes) -> bytes:
    """Replace the packet's source address."""
    return _expression("immediate", _load(1), _value(2, address)) + _write(12)


def destination_from_source() -> bytes:
    """Replace the packet's destination by its source address."""
    return _payload(NETWORK, 12, 4) + _write(16)


def transparent_socket() -> bytes:
    """Match packets of a connection whose local socket has an address of another host."""
    return _expression("socket", _number(1, 0), _load(2)) + _compare(b"\1", EQUAL)


def to_listener(port: int) -> bytes:
    """Pass a connection with its addresses to the listener on `port`; match only if there is one."""
    immediate = _expression("immediate", _load(1), _value(2, struct.pack(">H", port)))
    return immediate + _expression("tproxy", _number(1, _IPV4), _load(3))


def verdict(code: int) -> bytes:
    """Accept or drop the packet."""
    return _expression("immediate", _number(1, 0), _nested(2, _nested(2, _number(1, code))))


class Table:
    """A table of IPv4 rules; `apply` replaces it as one transaction."""

    def __init__(self, table: str) -> None:
        """Start an empty table with this name."""
        self._table = table
        self._body: list[tuple[int, int, bytes]] = []
        self._sets = 0

    def add_set(self, of: str, size: int, elements: Iterable[bytes]) -> None:
        """Add a set of elements of `size` bytes."""
        self._sets += 1
        named = _text(1, self._table) + _text(2, of)
        key = _number(4, 0) + _number(5, size)
        self._body.append((_NEWSET, _CREATE, named + key + _number(10, self._sets)))
        for element in sorted(set(elements)):
            listed = _nested(3, _nested(1, _value(1, element)))
            self._body.append((_NEWSETELEM, _CREATE, named + _number(4, self._sets) + listed))

    def add_chain(self, of: str, kind: str, hook: int, priority: int, rules: Iterable[bytes]) -> None:
        """Add a base chain with its rules; packets that no rule decides are accepted."""
        where = _nested(4, _number(1, hook), _attribute(2, struct.pack(">i", priority)))
        self._body.append((_NEWCHAIN, _CREATE, _text(1, self._table) + _text(3, of) + where + _text(7, kind)))
        for rule in rules:
            parts = _text(1, self._table) + _text(2, of) + _nested(4, rule)
            self._body.append((_NEWRULE, _CREATE | _APPEND, parts))

    def apply(self) -> None:
        """Replace the table in the kernel, in the calling process's network namespace.

        Raises:
            NetfilterError: The kernel refuses it; the old table stays.
        """
        table = _text(1, self._table)
        # A table that does not exist cannot be deleted, so create it first.
        body = [(_NEWTABLE, _CREATE, table), (_DELTABLE, 0, table), (_NEWTABLE, _CREATE, table), *self._body]
        messages = [_message(_BEGIN, 0, 0, _SUBSYSTEM, b"", 0)]
        for number, (kind, flags, attributes) in enumerate(body, 1):
            messages.append(_message(_SUBSYSTEM << 8 | kind, flags, number, 0, attributes, _IPV4))
        messages.append(_message(_END, _ACK, len(body) + 1, _SUBSYSTEM, b"", 0))
        _send(b"".join(messages), len(body) + 1)


def _message(kind: int, flags: int, number: int, resource: int, attributes: bytes, family: int) -> bytes:
    body = struct.pack(">BBH", family, 0, resource) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST, number, 0) + body


def _send(data: bytes, last: int) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as link:
        link.settimeout(5)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, max(len(data) * 2, 65536))
        try:
            link.bind((0, 0))
            link.send(data)
            while True:
                answer = link.recv(65536)
                while answer:
                    size, kind, _, number, _ = struct.unpack_from("=IHHII", answer)
                    if kind == _ERROR and (code := -struct.unpack_from("=i", answer, 16)[0]):
                        raise NetfilterError(f"nftables: {os.strerror(code)} in message {number}; {NEEDED}")
                    if number >= last:
                        return
                    answer = answer[size + -size % 4 :]
        except OSError as error:
            known = errno.errorcode.get(error.errno or 0, "")
            raise NetfilterError(f"nftables: {known or error}; {NEEDED}") from None
