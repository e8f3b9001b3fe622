"""Rejected messages of live sources, read again by what their format is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate, Reject
from ingest.live.messages import chains_in, content_of
from ingest.live.tick_parts import TickerError, chains_again
from ingest.retry_legs import Opened
from ingest.sources.recorded_file import NotARecordingError
from lake.errors import SettingsError


def message_again(each: Opened, reference: ReferenceData) -> list[ChainUpdate] | tuple[str, str]:
    """The chains of a message; or reason and detail of why it still is none.

    Args:
        each: A row whose origin is a message.
        reference: Calendar and lot sizes as they are now.
    """
    kept = each.kept
    received = datetime.fromtimestamp(kept.received_us / 1e6, UTC)
    try:
        items = chains_in(content_of(each.payload), each.origin["format"], received, reference)
    except NotARecordingError as error:
        return error.reason, error.detail
    except (SettingsError, ValueError) as error:
        return "unknown_source", str(error)
    chains = [item for item in items if isinstance(item, ChainUpdate)]
    rejects = tuple(item for item in items if isinstance(item, Reject))
    if not chains:
        return (rejects[0].reason, rejects[0].detail) if rejects else ("no_chain", "it holds no chain")
    received_ns = kept.received_us * 1000
    made = [replace(chain, received_ns=received_ns, source=kept.source, identity=None) for chain in chains]
    # What of it is no chain is a row of quarantine of its own now.
    made[0] = replace(made[0], rejects=(*made[0].rejects, *rejects))
    return made


def ticks_again(each: Opened) -> list[ChainUpdate] | tuple[str, str]:
    """The ticks of a part of a ticker's message, each a chain of one leg; or why it still cannot be read.

    Args:
        each: A row whose origin is such a part.
    """
    kept = each.kept
    try:
        payload = each.payload
        # Kite's messages are kept whole beside the rest of them that was not taken.
        has_rest = isinstance(payload, Mapping) and "rest" in payload
        content = content_of(payload["rest"] if has_rest else payload)
        content = content.encode() if isinstance(content, str) else content
        chains = chains_again(content, each.origin, kept.received_us * 1000)
    except TickerError as error:
        return error.reason, error.detail
    except KeyError:
        return "unknown_source", f"there is no ticker format {each.origin['format']!r} any more"
    except ImportError as error:
        return "library_missing", f"{error.name} is needed to read it: install the extra 'live'"
    except (TypeError, ValueError) as error:
        return "unreadable_quarantine", f"what quarantine keeps of it cannot be read: {error}"
    for chain in chains:
        chain.source = kept.source
    return chains or ("no_chain", "it holds no quote of a contract")
