"""Every view against figures worked out from the same recording in another way: plain loops over raw files.

Nothing here uses the adapters' output to say what is right; they only fill the table the views read.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import polars as pl
import pytest

from catalog.reference import ReferenceData
from ingest.events import ChainUpdate
from ingest.sources.base import SourceAdapter
from ingest.sources.kite_poll import KitePoll
from ingest.sources.nse_json import NseJson
from ingest.sources.nse_live_csv import NseLiveCsv

INDIA = timezone(timedelta(hours=5, minutes=30))
FIVE_MINUTES = timedelta(minutes=5)

Rows = list[dict[str, Any]]
Fetch = Callable[[duckdb.DuckDBPyConnection, str], Rows]


class ChainKey(NamedTuple):
    symbol: str
    expiry: date
    event_time: datetime


@dataclass
class Strike:
    """One strike as the file has it: None for a leg that is not there, 0 kept as 0."""

    strike: float
    oi: dict[str, float] = field(default_factory=dict)
    volume: dict[str, float] = field(default_factory=dict)
    ltp: dict[str, float] = field(default_factory=dict)
    iv_percent: dict[str, float] = field(default_factory=dict)
    spot: float = 0.0


Chains = dict[ChainKey, dict[float, Strike]]


@dataclass
class Recording:
    """A recording twice: as the adapter put it into the table, and as plain loops read it."""

    connection: duckdb.DuckDBPyConnection
    chains: Chains
    rows: int
    lots: Mapping[str, int] = field(default_factory=dict)

    def units_per_count(self, symbol: str) -> int:
        """What `Strike.oi` has to be multiplied by to be in units of the underlying."""
        return self.lots[symbol] if self.lots else 1

    def series(self) -> list[list[ChainKey]]:
        """Chains of one symbol, expiry and local date, in order of time."""
        series: dict[tuple[str, date, date], list[ChainKey]] = defaultdict(list)
        for key in sorted(self.chains):
            series[key.symbol, key.expiry, key.event_time.astimezone(INDIA).date()].append(key)
        return list(series.values())


def text_of(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")


@pytest.fixture(scope="module")
def record(
    session: Callable[..., duckdb.DuckDBPyConnection], rows_of_chain: Callable[..., Rows]
) -> Callable[[SourceAdapter, Iterable[Path], Chains], Recording]:
    reference = ReferenceData.load()

    def load(adapter: SourceAdapter, paths: Iterable[Path], chains: Chains) -> Recording:
        rows: Rows = []
        for path in paths:
            for update in adapter.read(path, reference):
                assert isinstance(update, ChainUpdate), update
                assert update.rejects == (), update.rejects
                rows += rows_of_chain(update, batch_id=path.name)
        assert rows
        assert chains
        return Recording(session(rows), chains, len(rows))

    return load


@pytest.fixture(scope="module")
def kite(recordings: Path, record: Callable[..., Recording]) -> Recording:
    """Polls of a night and a morning: all zero, then without volume, then live."""
    folder = recordings / "kite_poll_csv" / "2026-01-30"
    paths = sorted(path for path in folder.glob("*.csv*") if "_04-30" <= path.name[19:25] <= "_11-59")
    chains: Chains = defaultdict(dict)
    for path in paths:
        for line in csv.DictReader(text_of(path).splitlines()):
            when = datetime.strptime(line["timestamp"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=INDIA)
            key = ChainKey(line["Symbol"], date.fromisoformat(line["Expiry"]), when.astimezone(UTC))
            strike = float(line["Strike"])
            chains[key][strike] = Strike(
                strike,
                oi={"CE": int(line["CE_OI"]), "PE": int(line["PE_OI"])},
                volume={"CE": int(line["CE_Volume"]), "PE": int(line["PE_Volume"])},
                ltp={"CE": float(line["CE_LTP"]), "PE": float(line["PE_LTP"])},
                spot=float(line["Spot"]),
            )
    return record(KitePoll(), paths, chains)


@pytest.fixture(scope="module")
def nse_live(recordings: Path, record: Callable[..., Recording]) -> Recording:
    paths = sorted((recordings / "nse_live_derivatives_csv").glob("*.csv*"))
    chains: Chains = defaultdict(dict)
    for path in paths:
        for line in csv.DictReader(text_of(path).splitlines()):
            when = datetime.fromisoformat(line["datetime"]).astimezone(UTC)
            expiry = datetime.strptime(line["expiryDate"], "%d-%b-%Y").replace(tzinfo=INDIA).date()
            chain = chains[ChainKey("NIFTY", expiry, when)]
            strike = chain.setdefault(float(line["strikePrice"]), Strike(float(line["strikePrice"])))
            side = {"Call": "CE", "Put": "PE"}[line["optionType"]]
            # Contracts of 65; volume comes in units.
            strike.oi[side] = round(float(line["openInterest"]) * 65)
            strike.volume[side] = round(float(line["volume"]))
            strike.ltp[side] = float(line["lastPrice"])
            strike.spot = float(line["underlyingValue"])
    return record(NseLiveCsv(), paths, chains)


@pytest.fixture(scope="module")
def nse_json(recordings: Path, record: Callable[..., Recording]) -> Recording:
    paths = sorted((recordings / "nse_api_json" / "v1").glob("*.json*"))
    chains: Chains = defaultdict(dict)
    for path in paths:
        records = json.loads(text_of(path))["records"]
        when = datetime.strptime(records["timestamp"], "%d-%b-%Y %H:%M:%S").replace(tzinfo=INDIA)
        for entry in records["data"]:
            for side in ("CE", "PE"):
                if side not in entry:
                    continue
                leg = entry[side]
                expiry = datetime.strptime(leg["expiryDate"], "%d-%b-%Y").replace(tzinfo=INDIA).date()
                chain = chains[ChainKey(leg["underlying"], expiry, when.astimezone(UTC))]
                strike = chain.setdefault(leg["strikePrice"], Strike(leg["strikePrice"]))
                strike.oi[side] = leg["openInterest"]
                strike.volume[side] = leg["totalTradedVolume"]
                strike.iv_percent[side] = leg["impliedVolatility"]
                strike.spot = records["underlyingValue"]
    # This format counts contracts; their sizes on 16 July and 5 August 2025.
    lots = {"NIFTY": 75, "BANKNIFTY": 35, "FINNIFTY": 65, "MIDCPNIFTY": 140}
    return replace(record(NseJson(), paths, chains), lots=lots)


@pytest.fixture(params=["kite", "nse_live", "nse_json"])
def recording(request: pytest.FixtureRequest) -> Recording:
    fixture: Recording = request.getfixturevalue(request.param)
    return fixture


def key_of(row: Mapping[str, Any]) -> ChainKey:
    return ChainKey(row["symbol"], row["expiry"], row["event_time"])


def total(chain: Mapping[float, Strike], what: str, side: str) -> float | None:
    values = [getattr(strike, what)[side] for strike in chain.values() if side in getattr(strike, what)]
    return sum(values) if values else None


def ratio(puts: float | None, calls: float | None) -> float | None:
    return puts / calls if calls and puts is not None else None


def test_every_leg_of_the_recording_is_in_the_table_the_views_read(
    recording: Recording, fetch: Fetch
) -> None:
    legs = sum(len(strike.oi) for chain in recording.chains.values() for strike in chain.values())
    assert legs == recording.rows
    counted = fetch(recording.connection, "SELECT count(*) AS legs FROM chain_legs")
    assert counted == [{"legs": legs}]


def test_the_put_call_ratio_is_that_of_the_last_chain_in_five_minutes_of_the_local_clock(
    recording: Recording, fetch: Fetch
) -> None:
    last: dict[tuple[str, date, datetime], ChainKey] = {}
    for key in sorted(recording.chains):
        local = key.event_time.astimezone(INDIA)
        bucket = local.replace(minute=local.minute - local.minute % 5, second=0, microsecond=0)
        last[key.symbol, key.expiry, bucket.astimezone(UTC)] = key

    rows = fetch(recording.connection, "FROM pcr_5m")

    assert {(row["symbol"], row["expiry"], row["bucket_start"]): key_of(row) for row in rows} == last
    assert len(rows) == len(last)
    assert any(row["pcr_oi"] is not None for row in rows)
    for row in rows:
        chain = recording.chains[key_of(row)]
        by_oi = ratio(total(chain, "oi", "PE"), total(chain, "oi", "CE"))
        by_volume = ratio(total(chain, "volume", "PE"), total(chain, "volume", "CE"))
        assert row["pcr_oi"] == (by_oi if by_oi is None else pytest.approx(by_oi, rel=1e-12))
        assert row["pcr_volume"] == (by_volume if by_volume is None else pytest.approx(by_volume, rel=1e-12))


def payout(chain: Mapping[float, Strike], settlement: float) -> float:
    calls = sum(s.oi.get("CE", 0) * max(0.0, settlement - s.strike) for s in chain.values())
    puts = sum(s.oi.get("PE", 0) * max(0.0, s.strike - settlement) for s in chain.values())
    return calls + puts


def test_max_pain_is_what_trying_every_strike_finds(recording: Recording, fetch: Fetch) -> None:
    rows = {key_of(row): row for row in fetch(recording.connection, "FROM max_pain")}
    assert rows.keys() == recording.chains.keys()
    assert any(row["max_pain"] is not None for row in rows.values())
    for key, row in rows.items():
        chain = recording.chains[key]
        sides = [total(chain, "oi", side) for side in ("CE", "PE")]
        if None in sides or not any(sides):
            assert row["max_pain"] is None
            assert row["payout"] is None
            continue
        least, strike = min((payout(chain, strike), strike) for strike in chain)
        assert row["max_pain"] == strike
        assert row["payout"] == pytest.approx(least * recording.units_per_count(key.symbol), rel=1e-12)


def test_change_of_open_interest_is_that_since_the_last_chain_long_enough_ago(
    recording: Recording, fetch: Fetch
) -> None:
    horizons = {f"oi_change_{minutes}m": timedelta(minutes=minutes) for minutes in (3, 5, 15)}
    rows = fetch(recording.connection, "FROM oi_change")
    assert len(rows) == recording.rows
    ages = {
        key: [(earlier, key.event_time - earlier.event_time) for earlier in reversed(before)]
        for series in recording.series()
        for key, before in ((key, series[:index]) for index, key in enumerate(series))
    }
    known = 0
    for row in rows:
        key = key_of(row)
        side, strike = row["option_type"], row["strike"]
        oi = recording.chains[key][strike].oi[side]
        for column, horizon in horizons.items():
            expected = None
            for earlier, age in ages[key]:
                then = recording.chains[earlier].get(strike)
                if age > horizon * 1.5:
                    break
                if age >= horizon and then is not None and side in then.oi:
                    expected = oi - then.oi[side]
                    break
            assert row[column] == expected, (row, column)
            known += expected is not None
    some_are_known = any(
        horizon <= age <= horizon * 1.5
        for before in ages.values()
        for _, age in before
        for horizon in horizons.values()
    )
    assert (known > 0) == some_are_known


def test_candles_of_the_underlying_are_those_of_a_dynamic_group_by(
    recording: Recording, fetch: Fetch
) -> None:
    prices = {
        (key.symbol, key.event_time): strike.spot
        for key, chain in recording.chains.items()
        for strike in chain.values()
        if strike.spot > 0
    }
    candles = (
        pl.DataFrame(
            [
                (symbol, when.astimezone(INDIA).replace(tzinfo=None), spot)
                for (symbol, when), spot in prices.items()
            ],
            schema={"symbol": pl.String, "local": pl.Datetime("us"), "spot": pl.Float64},
            orient="row",
        )
        .sort("symbol", "local")
        .group_by_dynamic("local", every="5m", group_by="symbol")
        .agg(
            chains=pl.len(),
            open=pl.col("spot").first(),
            high=pl.col("spot").max(),
            low=pl.col("spot").min(),
            close=pl.col("spot").last(),
        )
    )
    assert candles.height > 0

    rows = fetch(recording.connection, "FROM underlying_ohlc_5m")

    names = ("chains", "open", "high", "low", "close")
    assert {(r["symbol"], r["bucket_start"]): tuple(r[name] for name in names) for r in rows} == {
        (c["symbol"], c["local"].replace(tzinfo=INDIA).astimezone(UTC)): tuple(c[name] for name in names)
        for c in candles.to_dicts()
    }


def test_the_latest_chain_is_the_last_one_of_each_expiry_strike_by_strike(
    recording: Recording, fetch: Fetch
) -> None:
    newest: dict[tuple[str, date], ChainKey] = {}
    for key in sorted(recording.chains):
        newest[key.symbol, key.expiry] = key

    rows = fetch(recording.connection, "FROM latest_chain")

    assert {key_of(row) for row in rows} == set(newest.values())
    assert len(rows) == sum(len(recording.chains[key]) for key in newest.values())
    for row in rows:
        strike = recording.chains[key_of(row)][row["strike"]]
        for prefix, side in (("call", "CE"), ("put", "PE")):
            present = side in strike.oi
            assert (row[f"{prefix}_oi"] is not None) == present
            assert (row[f"{prefix}_volume"] is not None) == present
            if strike.ltp:
                assert row[f"{prefix}_ltp"] == (strike.ltp.get(side) or None)
        assert row["underlying_price"] == (strike.spot or None)
        if strike.spot:
            assert row["moneyness"] == pytest.approx(row["strike"] / strike.spot, rel=1e-12)
        else:
            assert row["moneyness"] is None
    assert [(r["symbol"], r["expiry"], r["strike"]) for r in rows] == sorted(
        (r["symbol"], r["expiry"], r["strike"]) for r in rows
    )


def nearest(strikes: Iterable[float], target: float) -> float | None:
    return min(strikes, key=lambda strike: (abs(strike - target), strike), default=None)


def test_volatility_at_the_money_and_skew_are_those_of_the_nearest_strikes(
    nse_json: Recording, fetch: Fetch
) -> None:
    rows = {key_of(row): row for row in fetch(nse_json.connection, "FROM atm_iv_skew")}
    assert rows.keys() == nse_json.chains.keys()
    assert any(row["skew"] is not None for row in rows.values())
    for key, row in rows.items():
        chain = nse_json.chains[key]
        spot = next(strike.spot for strike in chain.values())

        def iv(strike: float | None, side: str, chain: Mapping[float, Strike] = chain) -> float | None:
            percent = chain[strike].iv_percent.get(side) if strike is not None else None
            return percent / 100 if percent else None

        atm = nearest(chain, spot)
        puts = [s for s in chain if "PE" in chain[s].iv_percent and 0.9625 * spot <= s <= 0.9875 * spot]
        calls = [s for s in chain if "CE" in chain[s].iv_percent and 1.0125 * spot <= s <= 1.0375 * spot]
        put, call = nearest(puts, 0.975 * spot), nearest(calls, 1.025 * spot)
        assert (row["atm_strike"], row["put_strike"], row["call_strike"]) == (atm, put, call)

        at_the_money = [value for side in ("CE", "PE") if (value := iv(atm, side)) is not None]
        if at_the_money:
            assert row["atm_iv"] == pytest.approx(sum(at_the_money) / len(at_the_money), rel=1e-12)
        else:
            assert row["atm_iv"] is None
        put_iv, call_iv = iv(put, "PE"), iv(call, "CE")
        if put_iv is None or call_iv is None:
            assert row["skew"] is None
        else:
            assert row["skew"] == pytest.approx(put_iv - call_iv, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("without_iv", ["kite", "nse_live"])
def test_a_recording_without_volatility_has_neither_level_nor_skew(
    request: pytest.FixtureRequest, fetch: Fetch, without_iv: str
) -> None:
    recording: Recording = request.getfixturevalue(without_iv)
    rows = fetch(recording.connection, "FROM atm_iv_skew")
    assert len(rows) == len(recording.chains)
    assert {(row["atm_iv"], row["skew"]) for row in rows} == {(None, None)}
    assert any(row["atm_strike"] is not None for row in rows)


def test_quality_of_a_batch_is_what_its_file_holds(kite: Recording, fetch: Fetch) -> None:
    rows = sorted(fetch(kite.connection, "FROM batch_quality"), key=lambda row: row["first_event_time"])
    polls = sorted({key.event_time for key in kite.chains})
    assert [row["first_event_time"] for row in rows] == polls
    assert [row["last_event_time"] for row in rows] == polls
    for index, (row, poll) in enumerate(zip(rows, polls, strict=True)):
        chains = [chain for key, chain in kite.chains.items() if key.event_time == poll]
        strikes = [strike for chain in chains for strike in chain.values()]
        legs = 2 * len(strikes)
        assert (row["row_count"], row["chains"]) == (legs, len(chains))
        assert (row["duplicate_rows"], row["one_sided_strikes"]) == (0, 0)
        untraded = sum(not ltp for strike in strikes for ltp in strike.ltp.values())
        assert row["ltp_null_rate"] == pytest.approx(untraded / legs, rel=1e-12)
        assert (row["bid_null_rate"], row["ask_null_rate"], row["iv_null_rate"]) == (1.0, 1.0, 1.0)
        spotless = 2 * sum(not strike.spot for strike in strikes)
        assert row["underlying_price_null_rate"] == pytest.approx(spotless / legs, rel=1e-12)
        gap_s = (poll - polls[index - 1]).total_seconds() if index else None
        assert (row["max_gap_s"], row["median_gap_s"]) == (gap_s, gap_s)


def test_falls_of_volume_are_those_a_walk_through_every_contract_meets(
    recording: Recording, fetch: Fetch
) -> None:
    expected = set()
    last: dict[tuple[str, date, date, float, str], float] = {}
    for key in sorted(recording.chains, key=lambda key: key.event_time):
        for strike in recording.chains[key].values():
            for side, volume in strike.volume.items():
                day = key.event_time.astimezone(INDIA).date()
                contract = (key.symbol, key.expiry, day, strike.strike, side)
                if volume < last.get(contract, 0):
                    expected.add((key, strike.strike, side))
                last[contract] = volume
    sql = (Path(__file__).parents[2] / "sql" / "checks" / "volume_falls.sql").read_text(encoding="utf-8")
    found = fetch(recording.connection, sql)
    assert {(key_of(row), row["strike"], row["option_type"]) for row in found} == expected
    assert len(found) == len(expected)
