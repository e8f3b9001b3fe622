"""Messages on their way from the receiver to the parser: bounded, the oldest goes first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

HANDOVER_FULL = "handover_full"


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came.

    Attributes:
        content: Text, or bytes of a binary message.
        received_ns: When it was received, epoch nanoseconds.
    """

    content: str | bytes
    received_ns: int

    @property
    def size_bytes(self) -> int:
        """How much it counts; characters for text, which holds at least as many bytes."""
        return len(self.content)


class HandOver:
    """A queue within one event loop that never grows beyond its limits and never makes the receiver wait.

    A receiver that waited would leave the messages in the socket, where they age unseen until the server
    cuts the connection; so the oldest is given up instead, and counted.
    """

    def __init__(
        self, *, most_messages: int, most_bytes: int, on_drop: Callable[[Message, str], None]
    ) -> None:
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._on_drop = on_drop
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def size_bytes(self) -> int:
        """What the waiting messages add up to."""
        return self._bytes

    def put(self, message: Message) -> None:
        """Take a message; what no longer fits is given up, the oldest first."""
        self._waiting.append(message)
        self._bytes += message.size_bytes
        while len(self._waiting) > self._most_messages or self._bytes > self._most_bytes:
            oldest = self._pop()
            self._on_drop(oldest, HANDOVER_FULL)
            if not self._waiting:
                break
        if self._waiting:
            self._filled.set()

    async def get(self) -> Message:
        """Wait for the oldest message and take it."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        return self._pop()

    def take_all(self) -> list[Message]:
        """Take what waits, oldest first, without waiting."""
        return [self._pop() for _ in range(len(self._waiting))]

    def _pop(self) -> Message:
        message = self._waiting.popleft()
        self._bytes -= message.size_bytes
        return message
