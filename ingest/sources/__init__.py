"""Recorded chains and candles: one adapter per wire format, found by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ingest.sources.base import FormatAdapter, SourceAdapter
from ingest.sources.bhavcopy_legacy import BhavcopyLegacy
from ingest.sources.bhavcopy_udiff import BhavcopyUdiff
from ingest.sources.bse_json import BseJson
from ingest.sources.candle_csv import CandleCsv
from ingest.sources.candle_format import CandleFormat
from ingest.sources.candle_json import CandleJson
from ingest.sources.kite_poll import KitePoll
from ingest.sources.kite_ticks import KiteTicks
from ingest.sources.nse_json import NseJson
from ingest.sources.nse_live_csv import NseLiveCsv
from ingest.sources.nse_table_csv import NseTableCsv
from ingest.sources.nse_v3_table import NseV3Table
from ingest.sources.nse_website_csv import NseWebsiteCsv
from ingest.sources.recognise import ANY_FORMAT, AnyFormat
from ingest.sources.upstox_log import UpstoxLog
from ingest.sources.wire_format import WireFormat
from lake.errors import MalformedInputError, SettingsError

__all__ = [
    "ADAPTERS",
    "ANY_FORMAT",
    "CANDLE_FORMATS",
    "WIRES",
    "AnyFormat",
    "adapter",
    "adapters",
    "recording_files",
]


def adapters(*, captured_at: datetime | None = None) -> Mapping[str, FormatAdapter]:
    """Return every adapter by its name, in the order in which they are listed.

    Args:
        captured_at: When the files were recorded, aware, for formats that do not say it.
    """
    every: tuple[FormatAdapter, ...] = (
        NseJson(),
        BseJson(),
        KitePoll(),
        NseLiveCsv(),
        NseV3Table(),
        NseTableCsv(),
        NseWebsiteCsv(captured_at),
        UpstoxLog(),
        KiteTicks(),
        BhavcopyLegacy(),
        BhavcopyUdiff(),
        CandleCsv(),
        CandleJson(),
    )
    return MappingProxyType({each.name: each for each in every})


ADAPTERS: Final = adapters()

WIRES: Final[Mapping[str, WireFormat]] = MappingProxyType(
    {name: each.wire for name, each in ADAPTERS.items() if isinstance(each.wire, WireFormat)}
)
"""The wire formats of chains, by name: how a rejected leg of theirs is tried again."""

CANDLE_FORMATS: Final[Mapping[str, CandleFormat]] = MappingProxyType(
    {name: each.wire for name, each in ADAPTERS.items() if isinstance(each.wire, CandleFormat)}
)
"""The wire formats of candles, by name: how a rejected candle of theirs is tried again."""


def adapter(name: str, known: Mapping[str, SourceAdapter] = ADAPTERS) -> SourceAdapter:
    """Return the adapter of that name.

    Raises:
        SettingsError: There is none; the message lists those there are.
    """
    try:
        return known[name]
    except KeyError:
        wanted = name.strip().lower().replace("_", "-")
        close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise SettingsError(f"no source {name!r}{hint} Known sources: {', '.join(known)}") from None


def recording_files(source: SourceAdapter, path: Path) -> list[Path]:
    """Return the files to read at `path`.

    Args:
        source: The adapter; a folder is searched, with all below it, for the endings of its format.
        path: A file, which is taken whatever its name, or a folder.

    Returns:
        Files in the order of their paths below the folder, which does not depend on the platform; none
        if the folder has none.

    Raises:
        MalformedInputError: There is nothing at `path`.
    """
    if path.is_dir():
        found = (each for each in path.rglob("*") if _has_suffix(each, source.suffixes) and each.is_file())
        return sorted(found, key=lambda each: each.relative_to(path).as_posix())
    if not path.exists():
        raise MalformedInputError(f"{path} does not exist; give a recorded file or a folder of them")
    return [path]


def _has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    name = path.name.lower()
    return name.removesuffix(".gz").removesuffix(".zip").endswith(suffixes) or name.endswith(suffixes)
