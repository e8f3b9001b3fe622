"""What features and labels of a session cost: a NIFTY day at five seconds, out of a compacted lake.

    python benchmarks/features.py [--runs 5] [--expiries 1] [--threads 2]

4,500 chains of 200 rows each. All ways read the same files in the same process, in turns; the median of the
runs is printed, with CPU time, and ratios to `build_frame`:

    build_frame     explain.features.build_frame: every feature and label
    feature_rows    the same without labels
    features_at     the newest row at 14:00, as a signal needs it
    polars          the same totals, changes over common strikes, max pain, returns and labels, written for
                    polars: no implied volatilities, no second expiry, no receipt times, one symbol and source
    pandas          totals, max pain and at-the-money volatility chain by chain, as a tracker computes them,
                    on every hundredth chain, times a hundred: no changes, no returns, no labels

What polars and pandas give is compared with what `build_frame` gives before anything is timed.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from benchmarks import option_days
from catalog.contracts import OPTION_CHAIN
from catalog.upkeep import SPECS
from explain.features import build_frame, feature_rows, features_at
from explain.frame import TrainingFrame
from lake.append import append
from lake.maintenance import maintain
from lake.session import Session
from lake.table import Lake

DAY = date(2026, 11, 20)
AT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
YEAR_S = 252 * 375 * 60
EVERY = 100


def make_lake(root: Path, expiries: int) -> Lake:
    """A lake of one day in one compacted file; each chain is received as a whole."""
    option_days.SYMBOLS = {"NSE": ("NIFTY",)}
    rows = option_days.chain_rows(
        DAY, "NSE", range(375), chains_a_minute=12, expiries=expiries, strikes=100 // expiries
    )
    received = pa.array(rows["event_time"].cast(pa.int64()).to_numpy() + 300_000).cast(
        rows["event_time"].type
    )
    rows = rows.set_column(rows.schema.get_field_index("received_time"), "received_time", received)
    lake = Lake.at(root)
    spec = OPTION_CHAIN.spec
    lake.create(spec)
    for number in range(30):
        piece = rows.slice(number * 30_000, 30_000)
        append(lake.path(spec.name), spec, piece, stream="bench/1", sequence=number + 1, metadata={})
    for done in maintain(lake, SPECS, lambda _: True, now=datetime.now(UTC) + timedelta(days=8)):
        assert not done.problems, done.problems
    return lake


def in_polars(files: list[str]) -> pl.DataFrame:
    """What one would write for one day of one symbol and expiry."""
    legs = pl.read_parquet(files).filter(pl.col("expiry") == pl.col("expiry").min())
    keys = ["event_time", "strike"]
    sides = [
        legs.filter(pl.col("option_type") == kind).select(
            *keys, pl.col("oi").alias(f"{side}_oi"), pl.col("volume").alias(f"{side}_volume")
        )
        for side, kind in (("call", "CE"), ("put", "PE"))
    ]
    strikes = sides[0].join(sides[1], on=keys).sort(keys)
    squares = [
        (pl.col(f"{s}_oi") / pl.col(f"{s}_oi").sum()).pow(2).sum().alias(f"{s}_hhi") for s in ("call", "put")
    ]
    walked = strikes.with_columns(
        (pl.col("call_oi") + pl.col("put_oi")).cum_sum().over("event_time").alias("up_to"),
        pl.col("put_oi").sum().over("event_time").alias("all_puts"),
    )
    totals = (
        walked.group_by("event_time", maintain_order=True)
        .agg(
            pl.col("call_oi", "put_oi", "call_volume", "put_volume").sum(),
            *squares,
            pl.col("strike").filter(pl.col("up_to") >= pl.col("all_puts")).min().alias("max_pain"),
        )
        .join(legs.group_by("event_time").agg(pl.col("underlying_price").max()), on="event_time")
        .sort("event_time")
        .with_columns((pl.col("put_oi") / pl.col("call_oi")).alias("pcr_oi"))
    )
    for minutes in (3, 5, 15):
        then = totals.select(
            "event_time", pl.col("event_time").alias("then"), pl.col("underlying_price").alias("was")
        )
        shifted = totals.with_columns((pl.col("event_time") - timedelta(minutes=minutes)).alias("moment"))
        joined = shifted.join_asof(
            then, left_on="moment", right_on="event_time", tolerance=timedelta(minutes=minutes / 2),
            check_sortedness=False, suffix="_then",
        )  # fmt: skip
        pairs = joined.select("event_time", "then").drop_nulls()
        both = pairs.join(strikes, on="event_time").join(
            strikes, left_on=["then", "strike"], right_on=keys, suffix="_then"
        )
        changes = both.group_by("event_time").agg(
            *(
                (
                    (pl.col(f"{s}_{what}") - pl.col(f"{s}_{what}_then")).sum() / pl.col(f"{s}_oi_then").sum()
                ).alias(f"{s}_{what}_change_{minutes}m")
                for s in ("call", "put")
                for what in ("oi", "volume")
            ),
            (
                pl.col("put_oi").sum() / pl.col("call_oi").sum()
                - pl.col("put_oi_then").sum() / pl.col("call_oi_then").sum()
            ).alias(f"pcr_oi_change_{minutes}m"),
        )
        totals = joined.with_columns(
            (pl.col("underlying_price") / pl.col("was")).log().alias(f"return_{minutes}m")
        ).drop("moment", "then", "was", "event_time_then", strict=False)
        totals = totals.join(changes, on="event_time", how="left").sort("event_time")
    minute = pl.col("event_time").dt.truncate("1m")
    sampled = totals.group_by(minute.alias("minute"), maintain_order=True).first().sort("event_time")
    squared = (pl.col("underlying_price") / pl.col("underlying_price").shift(1)).log().pow(2)
    volatility = sampled.select("event_time", squared.alias("square")).drop_nulls()
    volatility = volatility.with_columns(
        (pl.col("square").rolling_mean_by("event_time", "15m") * YEAR_S / 60).sqrt().alias("volatility")
    ).drop("square")
    totals = totals.join_asof(volatility, on="event_time", check_sortedness=False)
    ahead = totals.select("event_time", pl.col("underlying_price").alias("will_be"))
    moved = totals.with_columns((pl.col("event_time") + timedelta(minutes=15)).alias("moment")).join_asof(
        ahead, left_on="moment", right_on="event_time", check_sortedness=False, suffix="_ahead"
    )
    move = (pl.col("will_be") / pl.col("underlying_price")).log()
    threshold = 0.5 * pl.col("volatility") * math.sqrt(900 / YEAR_S)
    label = pl.when(move > threshold).then(pl.lit("BUY")).when(move < -threshold).then(pl.lit("SELL"))
    return moved.with_columns(move.alias("forward_return"), label.otherwise(pl.lit("HOLD")).alias("label"))


def in_pandas(files: list[str]) -> list[dict[str, Any]]:
    """One chain after the other, every hundredth."""
    legs = pl.read_parquet(files).filter(pl.col("expiry") == pl.col("expiry").min())
    moments = legs["event_time"].unique().sort().gather_every(EVERY)
    frame = legs.filter(pl.col("event_time").is_in(moments.implode())).to_pandas()
    rows = []
    for moment, chain in frame.groupby("event_time"):
        calls, puts = chain[chain.option_type == "CE"], chain[chain.option_type == "PE"]
        spot = chain.underlying_price.max()
        payouts = [
            (calls.oi * (s - calls.strike).clip(lower=0)).sum()
            + (puts.oi * (puts.strike - s).clip(lower=0)).sum()
            for s in calls.strike
        ]
        near = (chain.strike - spot).abs()
        rows.append(
            {
                "event_time": moment,
                "pcr_oi": puts.oi.sum() / calls.oi.sum(),
                "call_oi_concentration": ((calls.oi / calls.oi.sum()) ** 2).sum(),
                "put_oi_concentration": ((puts.oi / puts.oi.sum()) ** 2).sum(),
                "max_pain_distance": calls.strike.iloc[int(np.argmin(payouts))] / spot - 1,
                "atm_iv": chain.iv[chain.strike == chain.strike[near == near.min()].min()].mean(),
            }
        )
    return rows


def compare(frame: TrainingFrame, files: list[str]) -> None:
    """All ways give the same where they give anything."""
    ours = pl.DataFrame(frame.rows)
    other = in_polars(files).with_columns((pl.col("max_pain") / pl.col("underlying_price") - 1).alias("pain"))
    both = ours.join(other, on="event_time", suffix="_other")
    assert both.height == ours.height > 4_000
    names = [f"{s}_{w}_change_{m}m" for s in ("call", "put") for w in ("oi", "volume") for m in (3, 5, 15)]
    names += [f"{what}_{m}m" for what in ("return", "pcr_oi_change") for m in (3, 5, 15)]
    pairs = [(name, f"{name}_other") for name in (*names, "pcr_oi", "forward_return")]
    pairs += [
        ("max_pain_distance", "pain"),
        ("call_oi_concentration", "call_hhi"),
        ("put_oi_concentration", "put_hhi"),
    ]
    for one, two in pairs:
        assert np.allclose(
            both[one].to_numpy(), both[two].to_numpy(), rtol=1e-8, atol=1e-12, equal_nan=True
        ), one
    settled = both.filter(pl.col("event_time") >= AT)
    assert (settled["label"] == settled["label_other"]).mean() > 0.99
    of_pandas = pl.DataFrame(in_pandas(files)).with_columns(
        pl.col("event_time").cast(ours["event_time"].dtype)
    )
    both = ours.join(of_pandas, on="event_time", suffix="_other")
    assert both.height > 40
    for name in of_pandas.columns[1:]:
        assert np.allclose(both[name].to_numpy(), both[f"{name}_other"].to_numpy(), rtol=1e-8), name


def main() -> None:
    """Time every way in turns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--expiries", type=int, choices=(1, 2), default=1)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lake = make_lake(Path(folder) / "lake", asked.expiries)
        with Session(lake) as session:
            session.connection.execute(f"SET threads = {asked.threads}")
            files = list(session.snapshots["option_chain"].names)
            frame = build_frame(session, "NSE")
            print(f"{len(files)} file, {frame.rows.num_rows} labelled rows, {len(frame.features)} features")
            compare(frame, files)
            ways: dict[str, Callable[[], Any]] = {
                "build_frame": lambda: build_frame(session, "NSE"),
                "feature_rows": lambda: feature_rows(session, "NSE"),
                "features_at": lambda: features_at(session, "NSE", "NIFTY", AT),
                "polars": lambda: in_polars(files),
                "pandas": lambda: in_pandas(files),
            }
            report(ways, asked.runs)


def report(ways: dict[str, Callable[[], Any]], runs: int) -> None:
    """Print medians and ratios."""
    walls: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            scale = EVERY if name == "pandas" else 1
            walls[name].append((time.perf_counter() - wall) * scale)
            cpus[name].append((time.process_time() - cpu) * scale)
    base = statistics.median(walls["build_frame"])
    print(f"{'way':<14}{'wall s':>8}{'cpu s':>8}{'ratio':>8}")
    for name in ways:
        wall = statistics.median(walls[name])
        print(f"{name:<14}{wall:>8.2f}{statistics.median(cpus[name]):>8.2f}{wall / base:>8.2f}")


if __name__ == "__main__":
    main()
