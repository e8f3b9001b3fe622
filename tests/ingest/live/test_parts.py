"""The small parts of live sources: waits, addresses, credentials, the bounded hand-over, states."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import keyring
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from keyring.errors import NoKeyringError

from ingest.live.addresses import checked_address, origin
from ingest.live.backoff import Backoff
from ingest.live.connection import Connections, ConnectionState
from ingest.live.credentials import credential, needed_credential
from ingest.live.handover import HandOver, Message
from ingest.live.retry_after import retry_after_s
from lake.errors import SettingsError

SECRET = "s3cr3t"  # noqa: S105 - made up


def test_waits_are_spread_evenly_under_a_ceiling_that_doubles() -> None:
    backoff = Backoff(1.0, 60.0, random.Random(7))  # noqa: S311 - seeded
    for ceiling in (1, 2, 4, 8, 16, 32, 60, 60, 60):
        assert backoff.failures < 9
        wait = backoff.next_s()
        assert 0 <= wait <= ceiling
    seeded = [random.Random(seed) for seed in range(400)]  # noqa: S311 - seeded
    draws = [Backoff(8.0, 8.0, rng).next_s() for rng in seeded]
    assert min(draws) < 0.2
    assert max(draws) > 7.8
    assert sum(draws) / len(draws) == pytest.approx(4.0, abs=0.4)
    backoff.reset()
    assert backoff.next_s() <= 1.0
    assert backoff.next_s(at_least_s=30.0) >= 30.0


def test_a_thousand_failures_overflow_nothing() -> None:
    backoff = Backoff(1.0, 60.0, random.Random(1))  # noqa: S311 - seeded
    assert max(backoff.next_s() for _ in range(1_000)) <= 60.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), (" 5 ", 5), ("99999", 3600), ("-3", 0), ("soon", 0), ("", 0), (None, 0), ("9" * 400, 0)],
)
def test_retry_after_is_read_and_limited(header: str | None, seconds: float) -> None:
    assert retry_after_s(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    header = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < retry_after_s(header) <= 90


@pytest.mark.parametrize(
    "address",
    [
        "ws://feed.example/x", "http://feed.example", "wss://user:s3cr3t@feed.example", "wss://",
        "feed.example", "wss://[::1", "ftp://feed.example", "wss://feed.example/#x", "wss://a:b/",
        "ws://localhost.example/", "ws://127.0.0.1.example/",
    ],
)  # fmt: skip
def test_an_address_that_would_send_in_the_clear_or_holds_a_password_is_refused(address: str) -> None:
    with pytest.raises(SettingsError) as raised:
        checked_address(address, schemes=("ws", "wss"))
    assert SECRET not in str(raised.value)


def test_addresses_of_this_machine_may_be_plain() -> None:
    for address in ("ws://127.0.0.1:8/x", "ws://localhost:8/x", "ws://[::1]:8/x", "wss://feed.example/x?y=1"):
        assert checked_address(address, schemes=("ws", "wss")) == address
    assert origin("wss://feed.example:8/x?token=s3cr3t") == "wss://feed.example:8"


class _Keyring(KeyringBackend):
    priority = 1

    def get_password(self, service: str, username: str) -> str | None:
        return SECRET if (service, username) == ("strikelake", "kite_api_key") else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError


class _Locked(_Keyring):
    def get_password(self, service: str, username: str) -> str | None:
        del service, username
        raise NoKeyringError


@pytest.fixture
def own_keyring() -> object:
    before = keyring.get_keyring()
    yield keyring
    keyring.set_keyring(before)


@pytest.mark.usefixtures("own_keyring")
def test_a_credential_comes_from_the_environment_else_from_the_keyring() -> None:
    keyring.set_keyring(_Keyring())
    found = credential("kite_api_key", {"STRIKELAKE_KITE_API_KEY": " other "})
    assert found is not None
    assert found.get_secret_value() == "other"
    found = credential("kite_api_key", {"STRIKELAKE_KITE_API_KEY": ""})
    assert found is not None
    assert found.get_secret_value() == SECRET
    assert SECRET not in f"{found!r} {found}"
    assert credential("websocket_token", {}) is None


@pytest.mark.usefixtures("own_keyring")
def test_a_missing_credential_is_told_with_both_ways_also_without_any_keyring() -> None:
    keyring.set_keyring(_Locked())
    with pytest.raises(SettingsError) as raised:
        needed_credential("upstox_access_token", {})
    assert "STRIKELAKE_UPSTOX_ACCESS_TOKEN" in str(raised.value)
    assert "python -m keyring set strikelake upstox_access_token" in str(raised.value)


def test_a_credential_with_a_line_break_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError) as raised:
        credential("kite_api_key", {"STRIKELAKE_KITE_API_KEY": "s3cr3t\nX-Header: y"})
    assert SECRET not in str(raised.value)


@given(st.lists(st.integers(0, 60), max_size=80), st.integers(1, 10), st.integers(1, 100))
def test_the_hand_over_never_exceeds_its_limits_and_accounts_for_every_message(
    sizes: list[int], most_messages: int, most_bytes: int
) -> None:
    async def fill() -> None:
        dropped: list[int] = []
        queue = HandOver(
            most_messages=most_messages,
            most_bytes=most_bytes,
            on_drop=lambda message, _: dropped.append(message.received_ns),
        )
        for number, size in enumerate(sizes):
            queue.put(Message("x" * size, number))
            assert len(queue) <= most_messages
            assert queue.size_bytes <= most_bytes
        kept = []
        if len(queue):
            kept.append((await queue.get()).received_ns)
        kept += [message.received_ns for message in queue.take_all()]
        assert dropped + kept == list(range(len(sizes)))
        assert queue.size_bytes == 0

    asyncio.run(fill())


def test_an_exchange_is_up_while_all_its_connections_are() -> None:
    told: list[ConnectionState] = []
    connections = Connections("kite", told.append, clock_ns=lambda: 5)
    connections.expect("NSE", 0)
    connections.expect("NSE", 1)
    connections.change("NSE", up=True, line=0)
    assert told == []
    connections.change("NSE", up=True, line=1)
    connections.change("NSE", up=True, line=1)
    connections.change("NSE", up=False, line=0, why="gone")
    connections.change("NSE", up=False, line=1, why="gone as well")
    assert told == [ConnectionState("kite", "NSE", True, 5), ConnectionState("kite", "NSE", False, 5, "gone")]
