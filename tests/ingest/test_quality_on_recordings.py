"""Each detector fires on the oddities of real feeds, on exactly those rows, and stays quiet elsewhere.

What must be flagged is worked out from the files themselves, by csv and polars. Most of it takes whole days:
those tests are skipped where only the small samples are at hand.
"""

from __future__ import annotations

import ast
import csv
import gzip
from datetime import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from quality_readers import (
    alarms,
    flagged,
    flagged_times,
    judged,
    kite_polls,
    live_derivatives,
    upstox_answers,
    v3_chains,
    web_tables,
)

from catalog.dq_flags import DqFlag
from catalog.reference import ReferenceData

OPEN = time(9, 15)
INFORMATIVE = DqFlag.ONE_SIDED | DqFlag.IV_BOUNDS
"""True of every chain of a list of traded contracts, and of a solver's floor; no alarm."""


def whole(folder: Path, files: int = 1) -> Path:
    """A folder of the recordings that has all its files."""
    found = len([path for path in folder.iterdir() if path.is_file()]) if folder.is_dir() else 0
    if found < files:
        pytest.skip(f"{folder.name}: {found} of {files} files; set STRIKELAKE_RECORDINGS")
    return folder


def told(name: str, rows: pl.DataFrame) -> dict[str, int]:
    """Print what was flagged in a clean stretch, for the record, and give it back."""
    found = alarms(rows)
    chains = rows.select("symbol", "expiry", "event_time").n_unique()
    print(f"\nfalse alarms, {name}: {len(rows):,} rows, {chains} chains: {found or 'none'}")  # noqa: T201
    return found


@pytest.fixture(scope="module")
def kite(recordings: Path, reference: ReferenceData) -> pl.DataFrame:
    """2026-01-30: one process left running from midnight to 17:00."""
    return judged(kite_polls(whole(recordings / "kite_poll_csv" / "2026-01-30", 172)), reference)


@pytest.fixture(scope="module")
def kite_files(recordings: Path) -> list[list[dict[str, str]]]:
    files = sorted(whole(recordings / "kite_poll_csv" / "2026-01-30", 172).glob("*.csv"))
    return [list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in files]


class TestKitePolls:
    def test_the_broker_reset_is_zeroed_and_nothing_else_is(
        self, kite: pl.DataFrame, kite_files: list[list[dict[str, str]]]
    ) -> None:
        figures = [f"{side}_{name}" for side in ("CE", "PE") for name in ("LTP", "OI", "Volume")]
        zeroed = [
            rows[0]["timestamp"][11:16]
            for rows in kite_files
            if not any(float(row[name]) for row in rows for name in figures)
        ]
        assert (len(zeroed), zeroed[0], zeroed[-1]) == (28, "04:33", "06:49")
        for symbol in ("NIFTY", "BANKNIFTY", "MIDCPNIFTY"):
            assert flagged_times(kite.filter(pl.col("symbol") == symbol), DqFlag.ZEROED) == zeroed

    def test_the_97_repeated_polls_are_repeated_and_no_other(
        self, kite: pl.DataFrame, kite_files: list[list[dict[str, str]]]
    ) -> None:
        own = {"timestamp", "Max_Pain", "%Change"}
        plain = [[{k: v for k, v in row.items() if k not in own} for row in rows] for rows in kite_files]
        repeated = [
            rows[0]["timestamp"][11:16]
            for rows, (before, now) in zip(kite_files[1:], pairwise(plain), strict=True)
            if before == now
        ]
        assert len(repeated) == 97
        for symbol in ("NIFTY", "BANKNIFTY", "MIDCPNIFTY"):
            assert flagged_times(kite.filter(pl.col("symbol") == symbol), DqFlag.REPEATED) == repeated
        assert all(at > "15:30" or at < "09:15" for at in repeated)

    def test_volume_before_the_open_is_that_of_the_day_before(
        self, kite: pl.DataFrame, kite_files: list[list[dict[str, str]]]
    ) -> None:
        early = [
            float(row[name]) > 0
            for rows in kite_files
            for row in rows
            for name in ("CE_Volume", "PE_Volume")
            if row["timestamp"][11:16] < "09:15"
        ]
        found = flagged(kite, DqFlag.PRE_OPEN_TOTALS)
        assert len(found) == sum(early) > 0
        assert found["at"].dt.time().max() < time(4, 30)

    def test_no_flag_is_raised_in_the_71_polls_of_market_hours(self, kite: pl.DataFrame) -> None:
        clean = kite.filter(pl.col("at").dt.time().is_between(time(9, 16), time(15, 27)))
        assert clean["at"].n_unique() == 71
        assert told("kite-poll 2026-01-30 09:16 to 15:26", clean) == {}

    def test_after_the_close_only_the_first_poll_is_new(self, kite: pl.DataFrame) -> None:
        late = kite.filter(pl.col("at").dt.time() > time(15, 32))
        assert flagged(late, DqFlag.REPEATED).height == late.height > 0


@pytest.fixture(scope="module")
def listed(recordings: Path, reference: ReferenceData) -> pl.DataFrame:
    """2026-06-08 and 06-09, where whole; else the sample of 7 polls."""
    path = recordings / "nse_live_derivatives_csv" / "nifty50-16-Jun-2026.csv.gz"
    return judged(live_derivatives(path), reference)


class TestLiveDerivatives:
    def test_totals_of_yesterday_are_flagged_before_the_open_and_not_after(
        self, listed: pl.DataFrame
    ) -> None:
        early = listed.filter((pl.col("at").dt.time() < OPEN) & (pl.col("volume") > 0))
        assert flagged(listed, DqFlag.PRE_OPEN_TOTALS).equals(early)
        assert early["at"].n_unique() >= 5

    def test_the_fall_of_volume_at_the_open_makes_no_row_of_the_session_suspect(
        self, listed: pl.DataFrame
    ) -> None:
        """136,078,930 became 5,917,210 at 09:16: what was wrong is what came before it."""
        assert flagged(listed, DqFlag.STALE | DqFlag.VOLUME_FALLS).is_empty()

    def test_what_repeats_before_the_open_under_a_spot_that_moves_is_frozen(
        self, recordings: Path, listed: pl.DataFrame
    ) -> None:
        path = recordings / "nse_live_derivatives_csv" / "nifty50-16-Jun-2026.csv.gz"
        polls = pl.read_csv(gzip.decompress(path.read_bytes())).sort("contract", "strikePrice", "optionType")
        repeated = []
        before = None
        for text in sorted(polls["datetime"].unique()):
            now = polls.filter(pl.col("datetime") == text).select(
                "strikePrice", "optionType", "lastPrice", "volume", "openInterest"
            )
            if before is not None and now.equals(before):
                repeated.append(text[11:16])
            before = now
        assert repeated
        assert flagged_times(listed, DqFlag.REPEATED) == repeated
        assert flagged_times(listed, DqFlag.FROZEN) == repeated

    def test_prices_of_yesterday_do_not_fit_the_spot_of_today(self, listed: pl.DataFrame) -> None:
        """On 06-08 the spot jumps from 23,366.70 to 23,120.10 at 09:05, and the prices do not."""
        assert flagged_times(listed, DqFlag.OFF_SPOT) == ["09:05", "09:11"]

    def test_a_leg_alone_at_its_strike_is_one_sided(self, listed: pl.DataFrame) -> None:
        alone = listed.filter(pl.len().over("at", "strike") == 1)
        assert flagged(listed, DqFlag.ONE_SIDED).equals(alone)
        assert len(alone) > 0

    def test_no_alarm_is_raised_in_market_hours(self, listed: pl.DataFrame) -> None:
        clean = listed.filter(pl.col("at").dt.time() >= OPEN)
        found = told("live derivatives 2026-06-08 and 06-09", clean)
        assert set(found) <= {"one_sided"}


@pytest.mark.parametrize(("symbol", "lot"), [("NIFTY", 75), ("BANKNIFTY", 20)])
class TestWebTables:
    def test_the_collector_with_the_wrong_clock_is_told_from_the_right_one(
        self, recordings: Path, reference: ReferenceData, symbol: str, lot: int
    ) -> None:
        folder = whole(recordings / "nse_web_table_csv" / "2019-07-18" / symbol / "25JUL2019", 48)
        rows = judged(web_tables(folder, lot=lot), reference)
        spot_at_nine = rows.filter(pl.col("at").dt.time() == time(9, 0))["underlying_price"][0]
        wrong = rows.filter(pl.col("underlying_price") == spot_at_nine)
        right = rows.filter(pl.col("underlying_price") != spot_at_nine)
        assert wrong["at"].n_unique() == 28
        assert right["at"].n_unique() == 20
        # Before the second collector came, it was but a chain that stayed as it was before the open.
        first = wrong.filter((pl.col("at").dt.time() < time(9, 46)) & (pl.col("volume") > 0))
        assert flagged(first, DqFlag.PRE_OPEN_TOTALS).equals(first)
        later = wrong.filter(pl.col("at").dt.time() > time(9, 46))
        assert flagged(later, DqFlag.WRONG_CLOCK).equals(later)
        assert told(f"the right collector of {symbol}, 2019-07-18", right) == {}

    @pytest.mark.parametrize("expiry", ["25JUL2019", "1AUG2019"])
    def test_the_clean_day_after_has_no_alarm_but_what_is_in_the_files(
        self, recordings: Path, reference: ReferenceData, symbol: str, lot: int, expiry: str
    ) -> None:
        folder = whole(recordings / "nse_web_table_csv" / "2019-07-19" / symbol / expiry, 26)
        rows = judged(web_tables(folder, lot=lot), reference)
        files = sorted(folder.glob("*.csv"), key=lambda path: path.name[-9:])
        texts = [(path.name[-9:-4].replace("_", ":"), path.read_text(encoding="utf-8")) for path in files]
        sizes = [(at[:2] + ":" + at[3:], len(text.splitlines()) - 1) for at, text in texts]
        times = [at[:2] + ":" + at[3:] for at, _ in texts]
        repeated = [
            at for at, (before, now) in zip(times[1:], pairwise(texts), strict=True)
            if before[1] == now[1] and len(now[1].splitlines()) > 1
        ]  # fmt: skip
        most = max(size for at, size in sizes if at > "09:20")
        partial = [at for at, size in sizes if at > "09:20" and size < 0.9 * most]
        assert flagged_times(rows, DqFlag.REPEATED) == repeated
        assert flagged_times(rows, DqFlag.PARTIAL) == partial
        rest = told(f"{symbol} {expiry}, 2019-07-19", rows)
        assert set(rest) <= {"repeated", "partial"}
        assert len(repeated) <= 1
        assert len(partial) <= 1


@pytest.fixture(scope="module")
def minutes(recordings: Path, reference: ReferenceData) -> pl.DataFrame:
    """2026-08-19, 11:27 to 13:08, four expiries a minute."""
    path = whole(recordings / "nse_v3_parquet") / "option_chain_20260819.parquet"
    if not path.exists() or path.stat().st_size < 1_000_000:
        pytest.skip("only a sample of the minutes is at hand; set STRIKELAKE_RECORDINGS")
    return judged(v3_chains(path), reference)


@pytest.fixture(scope="module")
def minutes_file(recordings: Path) -> pl.DataFrame:
    key = ["expiry", "strike", "option_type"]
    path = recordings / "nse_v3_parquet" / "option_chain_20260819.parquet"
    return pl.read_parquet(path).sort(*key, "timestamp").with_columns(
        before=pl.col("volume").shift().over(key)
    )  # fmt: skip


class TestMinutes:
    def test_answers_older_than_the_one_before_are_stale_and_no_others(
        self, minutes: pl.DataFrame, minutes_file: pl.DataFrame
    ) -> None:
        fell = minutes_file.filter(pl.col("volume") < pl.col("before")).group_by("timestamp", "expiry").len()
        stale = flagged(minutes, DqFlag.STALE).group_by("at", "expiry").len()
        as_text = {
            (f"{row['at']:%Y%m%d%H%M}", f"{row['expiry']:%d-%b-%Y}") for row in stale.iter_rows(named=True)
        }
        assert as_text == {(row["timestamp"], row["expiry"]) for row in fell.iter_rows(named=True)}
        assert sorted(at[-4:] for at, _ in as_text) == ["1137", "1225", "1255"]
        assert flagged_times(minutes, DqFlag.STALE) == ["11:37", "12:25", "12:55"]

    def test_the_legs_whose_volume_fell_are_told_from_the_others(
        self, minutes: pl.DataFrame, minutes_file: pl.DataFrame
    ) -> None:
        fell = minutes_file.filter(pl.col("volume") < pl.col("before"))
        expected = {
            (row["timestamp"], row["expiry"], row["strike"], row["option_type"])
            for row in fell.iter_rows(named=True)
        }
        found = {
            (f"{row['at']:%Y%m%d%H%M}", f"{row['expiry']:%d-%b-%Y}", row["strike"], row["option_type"])
            for row in flagged(minutes, DqFlag.VOLUME_FALLS).iter_rows(named=True)
        }
        assert found == expected
        assert len(found) == 46

    def test_five_expiries_equal_the_minute_before(
        self, minutes: pl.DataFrame, minutes_file: pl.DataFrame
    ) -> None:
        repeated = []
        figures = ["strike", "option_type", "ltp", "volume", "oi"]
        for (expiry,), rows in minutes_file.group_by("expiry"):
            by_time = [group.select(figures) for _, group in sorted(rows.group_by("timestamp"))]
            times = sorted(rows["timestamp"].unique())
            repeated += [
                (at[8:10] + ":" + at[10:], expiry)
                for at, (before, now) in zip(times[1:], pairwise(by_time), strict=True)
                if before.equals(now)
            ]
        assert len(repeated) == 5
        assert flagged_times(minutes, DqFlag.REPEATED) == sorted(at for at, _ in repeated)

    def test_the_floor_of_the_solver_is_no_implied_volatility(
        self, minutes: pl.DataFrame, minutes_file: pl.DataFrame
    ) -> None:
        floor = minutes_file.filter((pl.col("iv") > 0) & (pl.col("iv") < 1)).height
        assert flagged(minutes, DqFlag.IV_BOUNDS).height == floor == 2_837

    def test_what_is_left_raises_no_alarm(self, minutes: pl.DataFrame) -> None:
        odd = DqFlag.STALE | DqFlag.VOLUME_FALLS | DqFlag.REPEATED
        clean = minutes.filter(pl.col("dq_flags") & int(odd) == 0)
        assert set(told("NSE v3 minutes, 2026-08-19", clean)) == {"one_sided", "iv_bounds"}


@pytest.mark.parametrize(
    ("file", "symbol", "exchange", "answers"),
    [
        ("Bankex.2025-01-23.payload_lines.log.gz", "BANKEX", "BSE", 3),
        ("FinNifty.2025-01-23.payload_lines.log.gz", "FINNIFTY", "NSE", 4),
    ],
    ids=["BANKEX", "FINNIFTY"],
)
def test_quotes_that_stand_still_under_a_moving_spot_are_frozen_and_do_not_fit_it(
    whole_recordings: Path, reference: ReferenceData, file: str, symbol: str, exchange: str, answers: int
) -> None:
    path = whole_recordings / "upstox_chain_log" / file
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    logged: list[Any] = [ast.literal_eval(line[line.index("{") :])["data"] for line in lines]
    without_spot = [
        [{k: v for k, v in row.items() if k != "underlying_spot_price"} for row in answer]
        for answer in logged
    ]
    assert len(logged) == answers
    assert all(each == without_spot[0] for each in without_spot)
    rows = judged(upstox_answers(path, symbol, exchange), reference)
    assert len(flagged_times(rows, DqFlag.FROZEN)) == answers - 1
    assert flagged(rows, DqFlag.FROZEN)["at"].min() > rows["at"].min()
    assert len(flagged_times(rows, DqFlag.OFF_SPOT)) == answers
    assert set(alarms(rows)) == {"off_spot", "frozen", "repeated"}


def test_the_sample_of_the_broker_reset_is_zeroed(samples: Path, reference: ReferenceData) -> None:
    rows = judged(kite_polls(samples / "kite_poll_csv" / "2026-01-30"), reference)
    assert flagged_times(rows, DqFlag.ZEROED) == ["04:33"] * 3
    assert set(alarms(rows)) == {"zeroed"}
