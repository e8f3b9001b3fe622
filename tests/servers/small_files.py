"""Small recordings made for a test, of any size."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

_HEADER = "contract,expiryDate,optionType,strikePrice,lastPrice,volume,openInterest,underlyingValue,datetime"


def live_csv(path: Path, *, polls: int, strikes: int, symbol: str = "NIFTY", more: str = "") -> Path:
    """A file of `nse-live-csv`: calls and puts of each strike in each poll, one every second.

    Args:
        path: The file.
        polls: How many.
        strikes: Of each poll.
        symbol: Underlying.
        more: Text of a further column, in every row.
    """
    start = datetime(2026, 6, 10, 9, 15)  # noqa: DTZ001 - as the format has it
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"{_HEADER}{',remark' if more else ''}\n")
        for poll in range(polls):
            at = f"{start + timedelta(seconds=poll):%Y-%m-%d %H:%M:%S}"
            for strike in range(strikes):
                for side in ("Call", "Put"):
                    file.write(
                        f"{symbol} 16-Jun-2026,16-Jun-2026,{side},{20_000 + 50 * strike},"
                        f"{100 + poll % 7}.5,{600 * poll},{10 + strike},24000.5,{at}"
                        f"{f',{more}' if more else ''}\n"
                    )
    return path


def write_lots(root: Path, symbol: str, lot_size: int, exchange: str = "NSE") -> None:
    """Add a lot size to a lake, as its user would."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "lot_sizes.csv").write_text(
        f"exchange,symbol,valid_from,lot_size\n{exchange},{symbol},2000-01-01,{lot_size}\n", encoding="utf-8"
    )
