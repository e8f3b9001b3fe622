"""A small real model with its reports and the signals it gave, for the page to show."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
from health_lake import DAY, NOW, HealthLake
from signal_models import FEATURES, rows_of, write_small_model

from catalog.contracts import SIGNALS
from explain.frame import CLASSES
from explain.model_folder import load_booster, read_info
from explain.reports import write_reports
from explain.signals import SignalGenerator

SIGNALS_GIVEN = 6


def explain(made: HealthLake) -> None:
    """Train, write reports and a signal of each of the last minutes, one of them unexplained."""
    folder = write_small_model(made.settings.models_dir, created=NOW - timedelta(days=1))
    info = read_info(folder)
    matrix = rows_of(400, seed=5)
    rows = pa.table(
        {
            "exchange": ["NSE"] * len(matrix),
            **{name: pa.array(matrix[:, place], from_pandas=True) for place, name in enumerate(FEATURES)},
        }
    )
    write_reports(
        load_booster(folder, info), rows, FEATURES, CLASSES, info.regimes,
        made.settings.models_dir / "NSE" / "reports",
        model_version=info.model_version, dataset=info.dataset, sample_rows=200, created_at=NOW,
    )  # fmt: skip
    exact, context = SignalGenerator(folder), SignalGenerator(folder, depth="context")
    given = []
    for number, values in enumerate(rows_of(SIGNALS_GIVEN, seed=9)):
        moment = NOW - timedelta(minutes=number)
        features = {
            name: None if np.isnan(one) else float(one) for name, one in zip(FEATURES, values, strict=True)
        }
        signal = (context if number == 1 else exact).generate_signal(
            features, event_time=moment, symbol="NIFTY"
        )
        given.append(
            signal.to_record()
            | {"date": DAY, "exchange": "NSE", "event_time": moment, "received_time": moment,
               "symbol": "NIFTY", "source": "live"}
        )  # fmt: skip
    made.commit(SIGNALS, given)
