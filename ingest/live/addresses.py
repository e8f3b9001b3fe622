"""Addresses of live sources: encrypted, but on this machine, and without credentials in them."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from lake.errors import SettingsError


def checked_address(address: str, *, schemes: tuple[str, str]) -> str:
    """Return the address without a trailing slash if it may be used.

    Args:
        address: As given; it is not quoted in messages, for it may hold a secret by mistake.
        schemes: The plain one, which is taken on the loopback interface only, and the encrypted one.

    Raises:
        SettingsError: It is no such address, would be sent in the clear, or holds a user or a password.
    """
    plain, encrypted = schemes
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise SettingsError(f"an address that cannot be read; expected {encrypted}://host/...") from None
    if parts.scheme not in schemes or not host:
        raise SettingsError(f"an address begins with {encrypted}://, then a host")
    if parts.username or parts.password:
        raise SettingsError("no user or password in an address: credentials come from the environment")
    if parts.fragment:
        raise SettingsError("an address has no part after '#'")
    if parts.scheme == plain and not _is_loopback(host):
        raise SettingsError(f"{plain}:// is for this machine only; use {encrypted}:// for {host}")
    return address.rstrip("/")


def origin(address: str) -> str:
    """Return scheme, host and port, which may be shown."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
