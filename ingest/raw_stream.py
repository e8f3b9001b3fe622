"""The drop-in for existing trackers: one function to call where a chain update is ready.

    from ingest.raw_stream import enqueue_raw_stream_event, start_raw_stream

    start_raw_stream()                       # once, at start-up; reads the settings
    ...
    enqueue_raw_stream_event("NSE", calls, puts, handler, features)

Capturing is off unless `enable_raw_stream_capture` (environment: `ENABLE_RAW_STREAM=true`) is set.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Mapping
from typing import Any

from ingest.freshness import DEFAULT_WITHIN_S, EVERY_SYMBOL
from ingest.tap import StreamTap
from lake.errors import StrikelakeError
from lake.settings import Settings, load_settings

logger = logging.getLogger(__name__)

HANDLER_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "underlying", "index_name", "name"),
    "expiry": ("expiry", "expiry_date", "current_expiry"),
    "event_time": ("event_time", "timestamp", "last_update_time"),
    "underlying_price": ("underlying_price", "spot_price", "spot", "underlying_value"),
    "vix": ("vix", "india_vix"),
    "atm_strike": ("atm_strike", "atm"),
    "pcr": ("pcr",),
    "lot_size": ("lot_size",),
}
"""Where a handler's values are looked for: the first attribute (or key of a mapping) that is not None."""

_LOOK_UPS = tuple(HANDLER_ATTRIBUTES.items())
_mappings: dict[type, bool] = {}

_OFF_MESSAGE = "raw stream capture is off; set ENABLE_RAW_STREAM=true to keep every chain update"

_lock = threading.Lock()
_tap: StreamTap | None = None
_off = False
_starting: threading.Thread | None = None


def start_raw_stream(settings: Settings | None = None) -> StreamTap | None:
    """Start capturing; call it once, before the market opens.

    Args:
        settings: Read from file and environment by default.

    Returns:
        The tap, or None if `enable_raw_stream_capture` is off. A second call returns the same tap.

    Raises:
        SettingsError: A setting is not valid.
        StreamInUseError: Another process already taps under this app id.
        SpoolUnavailableError: The spool cannot be opened.
    """
    global _tap, _off  # noqa: PLW0603 - the drop-in is a plain function, so its tap belongs to the process
    with _lock:
        if _tap is not None:
            return _tap
        settings = settings or load_settings()
        if not settings.enable_raw_stream_capture:
            _off = True
            logger.warning(_OFF_MESSAGE, extra={"action": "start"})
            return None
        _tap, _off = StreamTap(settings), False
        return _tap


def stop_raw_stream(timeout_s: float = 60.0) -> bool:
    """Commit what was taken and stop capturing; True if all was committed in time."""
    global _tap, _off
    starting = _starting
    if starting is not None:
        # A tap whose files are being opened has first to be there to be closed.
        starting.join(timeout_s)
    with _lock:
        tap, _tap, _off = _tap, None, False
    return tap.close(timeout_s) if tap is not None else True


def enqueue_raw_stream_event(
    exchange: str,
    calls: Any,
    puts: Any,
    handler_proxy: Any,
    ml_features_dict: Mapping[str, Any] | None,
) -> bool:
    """Hand over one chain update; returns at once and never raises.

    Args:
        exchange: `NSE` or `BSE`.
        calls: Call legs, see `StreamTap.offer`.
        puts: Put legs.
        handler_proxy: The app's handler, or a mapping: symbol, expiry and what else it knows are read from
            it now, see `HANDLER_ATTRIBUTES`.
        ml_features_dict: One number a feature, or None.

    Returns:
        True if it was queued; False if capturing is off, could not be started, or the update was dropped.
    """
    try:
        tap = _tap
        if tap is None:
            if _off:
                return False
            tap = _start_in_background()
            if tap is None:
                return False
        given = _values_of(handler_proxy)
        return tap.offer(
            exchange,
            calls,
            puts,
            symbol=given.get("symbol"),  # type: ignore[arg-type]  # None becomes a reject, with its reason
            expiry=given.get("expiry"),
            event_time=given.get("event_time"),
            context=given,
            features=ml_features_dict,
        )
    except Exception:
        logger.exception("update was not taken", extra={"action": "enqueue"})
        return False


def is_fresh(exchange: str, *, within_s: float = DEFAULT_WITHIN_S, symbol: str = EVERY_SYMBOL) -> bool:
    """Whether the feed of an exchange is known to live; returns at once, never raises, False when in doubt.

    Ask it before anything is done automatically: see `StreamTap.is_fresh`. Without a running capture
    nothing is known, so the answer is False.

    Args:
        exchange: `NSE` or `BSE`.
        within_s: How old the newest living chain may be, by time of receipt.
        symbol: Only chains of this underlying count; those of any by default.
    """
    tap = _tap
    return tap is not None and tap.is_fresh(exchange, within_s=within_s, symbol=symbol)


def _start_in_background() -> StreamTap | None:
    """For apps that never called `start_raw_stream`: queue at once, open files in another thread."""
    global _tap, _off, _starting  # noqa: PLW0603
    with _lock:
        if _tap is not None or _off:
            return _tap
        try:
            settings = load_settings()
        except StrikelakeError:
            _off = True
            logger.exception("raw stream capture cannot start", extra={"action": "start"})
            return None
        if not settings.enable_raw_stream_capture:
            _off = True
            logger.warning(_OFF_MESSAGE, extra={"action": "start"})
            return None
        _tap = StreamTap(settings, start=False)
        _starting = threading.Thread(target=_start, args=(_tap,), name="strikelake-start", daemon=True)
        _starting.start()
        # The tap registers itself only once it is started; a short script may end before that.
        atexit.register(stop_raw_stream)
        return _tap


def _start(tap: StreamTap) -> None:
    global _tap, _off
    try:
        tap.start()
    except (StrikelakeError, OSError):
        logger.exception("raw stream capture cannot start", extra={"action": "start"})
        with _lock:
            _tap, _off = None, True


def _values_of(handler: Any) -> dict[str, Any]:
    """What a handler has of `HANDLER_ATTRIBUTES`, by our names.

    All of them are tried at every call: remembering where a value was found would miss the VIX that one
    handler of a class has and another has not, or that comes a minute after the start.
    """
    kind = type(handler)
    mapping = _mappings.get(kind)
    if mapping is None:
        mapping = _mappings[kind] = issubclass(kind, Mapping)
    values: dict[str, Any] = {}
    for name, attributes in _LOOK_UPS:
        for attribute in attributes:
            try:
                value = handler.get(attribute) if mapping else getattr(handler, attribute, None)
            except Exception:  # noqa: BLE001, S112 - a property may raise; the rows then lack it
                continue
            if value is not None:
                values[name] = value
                break
    return values
