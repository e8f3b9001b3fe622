"""Which lake the notebooks read, and copies of it that they may change.

A notebook reads the lake that the command line reads in the folder of the project: `STRIKELAKE_ROOT`,
`strikelake.toml`, or `data`. It never changes that one: what needs a dataset, a model or late rows is done in
a copy of some of it, in a temporary folder.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pyarrow as pa

from catalog.contracts import CAPTURED, Contract
from catalog.reference import ReferenceData
from ingest.simulated_feed import latest_known_session, play, sessions_until
from lake.append import append
from lake.session import Session
from lake.settings import Settings, load_settings

COPIED = ("option_chain", "ml_features")
COLOURS = {"BUY": "#2a7f62", "HOLD": "#8a8f98", "SELL": "#b3402e", "spot": "#1f2937", "other": "#3b6ea5"}

_HELP = """There is no lake yet. In the folder of the project, make one and run this cell again:

    strikelake demo --sessions 5                                     simulated prices, half a minute
    strikelake ingest load --source nse-live-csv RECORDINGS          a recording of yours

A lake elsewhere: set STRIKELAKE_ROOT to its folder before you start Jupyter."""


class NoLakeError(Exception):
    """There is no lake; the message says how to make one."""

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows: the advice alone."""
        return str(self).splitlines()


def settings_at_hand() -> Settings:
    """The settings that the command line has in the folder of the project.

    Raises:
        NoLakeError: They name no lake.
    """
    project = Path(__file__).resolve().parents[1]
    if Path.cwd().is_relative_to(project / "notebooks"):
        os.chdir(project)
    settings = load_settings()
    if not settings.lake.exists():
        raise NoLakeError(_HELP)
    style_plots(settings.timezone)
    return settings


def style_plots(zone: str) -> None:
    """Plots of one size and look, with clock times of the exchange."""
    mpl.rcParams.update(
        {
            "figure.figsize": (9, 3.6), "figure.dpi": 90, "figure.constrained_layout.use": True,
            "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
            "axes.titlelocation": "left", "axes.titlesize": 11, "legend.frameon": False,
            "timezone": zone, "date.autoformatter.hour": "%H:%M", "date.autoformatter.minute": "%H:%M",
            # Plots that are the same twice.
            "svg.hashsalt": "strikelake",
        }
    )  # fmt: skip


def what_is_there(session: Session) -> pd.DataFrame:
    """One row a session, exchange and underlying, newest last, with the number of its chains."""
    return session.table(
        """
        SELECT date, exchange, symbol, string_agg(DISTINCT source, ', ') AS source,
               count(DISTINCT event_time) AS chains, count(*) AS legs,
               min(event_time) AS first, max(event_time) AS last
        FROM option_chain
        GROUP BY date, exchange, symbol
        ORDER BY date, exchange, symbol
        """
    ).to_pandas()


def say_what_is_there(there: pd.DataFrame) -> None:
    """One sentence on a lake."""
    simulated = there["source"].str.contains("simulator")
    kind = "simulated" if simulated.all() else "recorded" if not simulated.any() else "recorded and simulated"
    days = sorted(there["date"].unique())
    span = f"{days[0]:%d %b %Y}" if len(days) == 1 else f"{days[0]:%d %b} to {days[-1]:%d %b %Y}"
    print(
        f"{len(days)} {kind} session{'s'[: len(days) - 1]} ({span}) of "
        f"{', '.join(sorted(there['symbol'].unique()))}: {there['chains'].sum():,} chains"
    )


@dataclass
class Scratch:
    """A lake in a temporary folder, gone when the notebook's kernel ends.

    Attributes:
        settings: Of the lake; models go into its folder as well.
        folder: Keeps the folder while it is referred to.
        batches: Micro-batches added so far.
    """

    settings: Settings
    folder: tempfile.TemporaryDirectory[str]
    batches: int = 0

    def add(self, rows: pa.Table, contract: Contract, batch_id: str) -> None:
        """Commit rows as one micro-batch."""
        if not rows.num_rows:
            return
        self.batches += 1
        schema = pa.schema(
            [contract.schema.field(f.name) if f.name in contract.schema.names else f for f in rows.schema]
        )
        index = schema.get_field_index("batch_id")
        rows = rows.set_column(index, "batch_id", pa.repeat(pa.scalar(batch_id), rows.num_rows)).cast(schema)
        append(
            self.settings.lake.path(contract.table), contract.spec, rows,
            stream=f"notebook/{contract.table}", sequence=self.batches,
            metadata={"batch_id": batch_id, "app_id": "notebook", "seq_first": self.batches,
                      "seq_last": self.batches},
        )  # fmt: skip

    def copy(self, source: Session, condition: str, batch_id: str) -> int:
        """Copy the rows of the captured tables that meet a condition; returns the rows of the chain."""
        counts = []
        for name in COPIED:
            rows = pa.table({})
            if name in source.snapshots:
                rows = source.table(f"SELECT * FROM {name} WHERE {condition} ORDER BY event_time, symbol")
                self.add(rows, CAPTURED[name], batch_id)
            counts.append(rows.num_rows)
        return counts[0]


def scratch_lake() -> Scratch:
    """An empty lake in a temporary folder."""
    folder = tempfile.TemporaryDirectory(prefix="strikelake-notebook-", ignore_cleanup_errors=True)
    root = Path(folder.name)
    settings = Settings(root=root / "data", models_dir=root / "models", app_id="notebook")
    for contract in CAPTURED.values():
        settings.lake.create(contract.spec)
    return Scratch(settings, folder)


def copied_sessions(source: Session, days: Sequence[date]) -> Scratch:
    """A scratch lake with these sessions of another one, each as one micro-batch."""
    made = scratch_lake()
    for day in days:
        made.copy(source, f"date = DATE '{day}'", f"session-{day}")
    return made


def simulated_sessions(count: int, *, last: date | None = None, interval_s: float = 240) -> Scratch:
    """A scratch lake of simulated sessions, for whoever has too little of their own."""
    made = scratch_lake()
    reference = ReferenceData.load()
    day = last or latest_known_session(reference, date(2026, 8, 1))
    play(
        made.settings, reference, days=sessions_until(reference, day, count), seed=7,
        interval_s=interval_s, progress=lambda _: None,
    )  # fmt: skip
    return made
