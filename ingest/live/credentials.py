"""Credentials of live sources: from the environment, else from the keyring of the operating system.

They are read at the edge, in the command line, and passed on as `SecretStr`, whose text and repr hide them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import SecretStr

from lake.errors import SettingsError

KEYRING_SERVICE = "strikelake"
_PREFIX = "STRIKELAKE_"

KITE_API_KEY = "kite_api_key"
KITE_ACCESS_TOKEN = "kite_access_token"  # noqa: S105 - its name, not a token
UPSTOX_ACCESS_TOKEN = "upstox_access_token"  # noqa: S105 - its name
WEBSOCKET_TOKEN = "websocket_token"  # noqa: S105 - its name

KeyringLookup = Callable[[str, str], str | None]


def variable(name: str) -> str:
    """Return the environment variable of a credential: `kite_api_key` is STRIKELAKE_KITE_API_KEY."""
    return _PREFIX + name.upper()


def credential(
    name: str, environment: Mapping[str, str], *, keyring_lookup: KeyringLookup | None = None
) -> SecretStr | None:
    """Return a credential, None if it is in neither place; an empty one counts as not there.

    Args:
        name: One of those named above.
        environment: Variables by name.
        keyring_lookup: Takes service and name; the operating system's keyring by default.

    Raises:
        SettingsError: It has characters that no header or address can carry.
    """
    value = environment.get(variable(name)) or (keyring_lookup or _from_keyring)(KEYRING_SERVICE, name)
    if not value or not value.strip():
        return None
    value = value.strip()
    if not (value.isascii() and value.isprintable()):
        raise SettingsError(f"the credential {name} has characters that cannot be sent; store it again")
    return SecretStr(value)


def needed_credential(
    name: str, environment: Mapping[str, str], *, keyring_lookup: KeyringLookup | None = None
) -> SecretStr:
    """Return a credential that a source cannot do without.

    Raises:
        SettingsError: It is in neither place; the message says both.
    """
    found = credential(name, environment, keyring_lookup=keyring_lookup)
    if found is None:
        raise SettingsError(
            f"no credential {name}: set the environment variable {variable(name)}, or store it in the"
            f" keyring with 'python -m keyring set {KEYRING_SERVICE} {name}'"
        )
    return found


def _from_keyring(service: str, name: str) -> str | None:
    import keyring
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(service, name)
    except KeyringError:  # a server without a keyring, or a locked one: the variable is the way there
        return None
