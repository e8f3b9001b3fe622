"""A tracker that embeds strikelake: it makes up a chain every second and goes on at once.

    python examples/live_app.py            # Ctrl-C to end
    strikelake sql "SELECT max(event_time), count(*) FROM option_chain" --live
    strikelake sql "SELECT event_time, signal, narrative FROM signals ORDER BY 1 DESC" --live

Where there is a model (strikelake explain train NSE ...), it is asked once a minute of the session, in a
thread of its own: features as the lake knows them -> generate_signal -> offer_signal.

A real tracker calls start_raw_stream() with no arguments and is switched on by ENABLE_RAW_STREAM=true.
"""

import random
import threading
import time
from datetime import UTC, datetime, timedelta

from ingest.raw_stream import enqueue_raw_stream_event, start_raw_stream, stop_raw_stream
from ingest.tap import StreamTap
from lake.errors import StrikelakeError
from lake.settings import load_settings

ASK_EVERY_S = 60.0


class NiftyHandler:
    """What a tracker keeps of one index; strikelake reads symbol, expiry, spot and vix from it."""

    symbol = "NIFTY"
    vix = 12.8

    def __init__(self) -> None:
        self.expiry = (datetime.now().astimezone() + timedelta(days=7)).date()
        self.spot = 25_000.0
        self.volume = 0

    def chain(self) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
        """New call and put legs; strikelake keeps a reference, so they are not changed afterwards."""
        self.spot += random.gauss(0, 3)
        self.volume += 75 * random.randrange(1, 400)
        strikes = [round(self.spot / 50) * 50 + 50 * step for step in range(-20, 21)]
        return [self._leg(k, self.spot - k) for k in strikes], [self._leg(k, k - self.spot) for k in strikes]

    def _leg(self, strike: float, intrinsic: float) -> dict[str, object]:
        price = round((max(intrinsic, 0) + random.uniform(5, 60)) / 0.05) * 0.05
        return {"strike": strike, "ltp": price, "bid": price - 0.05, "ask": price + 0.05,
                "oi": 75 * random.randrange(1, 90_000), "volume": self.volume}  # fmt: skip


def make_signals(tap: StreamTap, ended: threading.Event) -> None:
    """Ask the newest model once a minute: off the hot path, since an explanation takes milliseconds."""
    from catalog.features import features_at
    from explain.signals import SignalGenerator
    from lake.session import Session

    try:
        generator = SignalGenerator(tap.settings.models_dir / "NSE")
    except StrikelakeError as error:
        print(f"\nno signals: {error}")
        return
    while not ended.wait(ASK_EVERY_S):
        try:
            with Session(tap.settings.lake, live=True) as session:
                row = features_at(session, "NSE", "NIFTY", datetime.now(UTC))
            signal = generator.generate_signal(row.values, event_time=row.event_time, symbol=row.symbol)
        except StrikelakeError as error:  # e.g. outside of a session, or too soon after its start
            print(f"\nno signal: {error}")
            continue
        # The time of the features, so that `strikelake explain signal` can make it again from the lake.
        tap.offer_signal(signal.exchange, signal.to_record(), symbol=row.symbol, event_time=signal.event_time)
        print(f"\n{signal.metadata['narrative']}")


def main() -> None:
    """Track until Ctrl-C."""
    tap = start_raw_stream(load_settings(enable_raw_stream_capture=True, raw_stream_flush_seconds=10))
    if tap is None:  # never: it is switched on in the line above
        raise SystemExit("raw stream capture is off")
    ended = threading.Event()
    asking = threading.Thread(target=make_signals, args=(tap, ended))
    asking.start()
    handler = NiftyHandler()
    try:
        while True:
            calls, puts = handler.chain()
            features = {"spot": handler.spot, "straddle": calls[20]["ltp"] + puts[20]["ltp"]}
            enqueue_raw_stream_event("NSE", calls, puts, handler, features)
            print(f"\r{time.strftime('%H:%M:%S')}  NIFTY {handler.spot:,.2f}", end="", flush=True)
            time.sleep(1)
    except KeyboardInterrupt:
        ended.set()
        asking.join()
        print("\ncommitting ...", "done" if stop_raw_stream() else "the rest waits in the spool")


if __name__ == "__main__":
    main()
