"""What a hostile client sends, from a seed: frames that a server must bear, and frames that it may close for. Pure."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.realtime.inherited.client_frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, masked

NAMES = [
    "echo",
    "any",
    "note",
    "ping",
    "enter",
    "forbidden",
    "nothing",
    "connect",
    "disconnect",
    "error",
    "__proto__",
    "",
]
NAMESPACES = ["/echo", "/nowhere", "/", "/echo?x=1", "/ECHO", "/é", "/" + "x" * 200]
JSON = [
    "null",
    "1e999",
    "NaN",
    '"\\ud800"',
    "[" * 40 + "]" * 40,
    "[" * 5000,
    "9" * 400,
    "{}",
    '{"text":"x"}',
    '{"number":1}',
    '{"text":' + '"x' * 30,
    '{"value":{"_placeholder":true,"num":0}}',
    '{"value":{"_placeholder":true,"num":-1}}',
    '{"value":{"_placeholder":[],"num":{}}}',
    '"' + "\\" * 99,
]


class Garbage:
    def __init__(self, seed: int, connect: str) -> None:
        """`connect` is the packet that enters the namespace."""
        self.random = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._connect = connect

    def borne(self) -> bytes:
        """A frame, or as many as belong together, after which a well-behaved server still listens: most of them."""
        return self._one_of(
            self._event,
            self._event,
            self._fragments,
            self._with_attachments,
            lambda: masked(f"43/echo,{self.random.randrange(10**6)}[{self._json()}]"),
            lambda: masked(f"40{self.random.choice(NAMESPACES[1:])},{{}}"),
            lambda: masked("41/echo,") + masked(self._connect),
            lambda: masked("3"),
            lambda: masked(self._bytes(125), opcode=PING),
            lambda: masked(self._bytes(125), opcode=PONG),
        )

    def fatal(self) -> bytes:
        return self._one_of(
            lambda: self._bytes(200),
            lambda: masked(self._bytes(60), opcode=self.random.randrange(16), final=self.random.random() < 0.5),
            lambda: masked(b"\xff\xfe" + self._bytes(20), opcode=TEXT),
            lambda: masked("4" + self._packet()),
            lambda: masked(self.random.choice(["", "0{}", "2", "2probe", "5", "6", "7", "x", "4"]) + self._packet()),
            lambda: masked(self._packet()),
            lambda: masked(self._bytes(50)),
            lambda: masked(self.random.choice(["4", "42{}", "42[]", "44/echo,{}", "49", "40/echo,[]", self._connect])),
            lambda: masked(
                f"45{self.random.choice(['0', '11', '99', '9' * 12, '', '٣', '-1'])}-/echo,[{self._json()}]"
            ),
            lambda: (
                masked(f'4510-/echo,["any",{self._json()}]') + masked(b"x" * self.random.choice([0, 9, 40_000])) * 10
            ),
            lambda: masked('451-/echo,["any",{"value":1}]') + masked("4not bytes"),
            lambda: masked(f"42/echo,{'9' * self.random.choice([17, 400, 5000])}[{self._json()}]"),
            lambda: masked("42/echo" + "," * 99),
            lambda: masked("4" + "x" * self.random.choice([66_000, 200_000, 400_000])),
            lambda: (
                bytes((0x81, 0x80 | 127)) + struct.pack("!Q", self.random.choice([2**63, 2**64 - 1, 2**31, 66_000]))
            ),
            lambda: bytes((0x81, 5)) + b"42[1]",  # unmasked
            lambda: bytes((0xC1, 0x85)) + self._bytes(9),  # compressed, which was not negotiated
            lambda: masked("42/", final=False) + masked("42/echo,[]"),  # a message within a message
            lambda: masked("x", opcode=CONTINUATION),
            lambda: masked("x" * 126, opcode=PING),
            lambda: masked(self._bytes(8), opcode=CLOSE),
            lambda: masked(self._packet())[: self.random.randrange(1, 7)],  # cut short
            lambda: masked("1"),
        )

    def body(self) -> bytes:
        """A POST."""
        return self._one_of(
            lambda: self._bytes(300),
            lambda: b"\x1e".join(self._packet().encode() for _ in range(self.random.randrange(40))),
            lambda: b"\x1e".join([b"4" + self._packet().encode(), b"b" + self._bytes(40), b"b////", b"b"]),
            lambda: b"\x1e".join(self._posted() for _ in range(self.random.randrange(1, 100))),
            lambda: b"4" + b"x" * self.random.choice([66_000, 500_000]),
            lambda: b"\x1e" * self.random.randrange(60_000),
            lambda: self._posted() + b"\x1e1\x1e" + self._posted(),
        )

    def _posted(self) -> bytes:
        return f'42/echo,{self.random.randrange(99)}["{self.random.choice(NAMES)}",{{"text":"x"}}]'.encode()

    def _event(self) -> bytes:
        name, id = self.random.choice(NAMES), self.random.choice(["", "0", "7", str(self.random.randrange(10**15))])
        argument = self.random.choice(
            ['{"text":"x"}', '{"number":1}', '{"value":NaN}', "{}", "[]", '"x"', "1,2", "[[" + "]]"]
        )
        return masked(f'42/echo,{id}["{name}",{argument}]')

    def _fragments(self) -> bytes:
        text = f'42/echo,1["echo",{{"text":"{"é" * self.random.randrange(99)}"}}]'.encode()
        cut = self.random.randrange(len(text))
        ping = masked(b"between", opcode=PING) * self.random.randrange(3)
        return masked(text[:cut], opcode=TEXT, final=False) + ping + masked(text[cut:], opcode=CONTINUATION)

    def _with_attachments(self) -> bytes:
        count = self.random.randrange(1, 11)
        places = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(count))
        blobs = [masked(self._bytes(self.random.choice([0, 5, 3000])), opcode=BINARY) for _ in range(count)]
        return masked(f'45{count}-/echo,1["any",{{"value":[{places}]}}]') + b"".join(blobs)

    def _packet(self) -> str:
        """Something of a Socket.IO packet, in which one thing or another is off."""
        packet = (
            self.random.choice("0123456789é")
            + self.random.choice(["", "", "1-", "10-", "11-", "-", "0-"])
            + self.random.choice(NAMESPACES)
            + self.random.choice([",", "", ",,"])
            + self.random.choice(["", "1", "9" * 30])
            + self.random.choice([f'["{self.random.choice(NAMES)}",{self._json()}]', self._json(), ""])
        )
        if self.random.random() < 0.3:
            cut = self.random.randrange(len(packet) + 1)
            packet = packet[:cut] + self.random.choice(["", "\x00", "\x1e", '"', "]"]) + packet[cut + 1 :]
        return packet

    def _json(self) -> str:
        return self.random.choice(JSON)

    def _bytes(self, most: int) -> bytes:
        return self.random.randbytes(self.random.randrange(most + 1))

    def _one_of(self, *makers: Callable[[], bytes]) -> bytes:
        return self.random.choice(makers)()
