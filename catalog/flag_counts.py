"""How many rows of a micro-batch each data-quality flag is set on: kept in the commit, mirrored per batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from catalog.dq_flags import flag_names

METADATA_KEY = "flagged_rows"
"""Of the commit's batch record: counts by flag, by `date/exchange`."""


def flagged_rows(rows: pa.Table) -> dict[str, dict[str, int]]:
    """Count flagged rows of each partition; `{}` for a partition without any.

    Args:
        rows: Rows of `option_chain`, all partitions of one commit.
    """
    keys = ["date", "exchange", "dq_flags"]
    counted = rows.select(keys).group_by(keys).aggregate([([], "count_all")])
    found: dict[str, dict[str, int]] = {}
    for row in counted.to_pylist():
        counts = found.setdefault(f"{row['date']}/{row['exchange']}", {})
        for name in flag_names(row["dq_flags"]):
            counts[name] = counts.get(name, 0) + row["count_all"]
    return found


def of_partition(batch: Mapping[str, Any], partition: Mapping[str, str]) -> str | None:
    """The counts that a commit recorded of one partition, as JSON; None where it recorded none.

    Args:
        batch: The commit's batch record.
        partition: Partition values of a file.
    """
    recorded = batch.get(METADATA_KEY)
    if not isinstance(recorded, dict):
        return None
    counts = recorded.get(f"{partition.get('date')}/{partition.get('exchange')}")
    return json.dumps(counts, sort_keys=True) if isinstance(counts, dict) else None


def shown(counts: str | None) -> str | None:
    """Counts as a table shows them: `zeroed 120, late 3`; empty for none flagged, None where not counted."""
    if counts is None:
        return None
    found: dict[str, int] = json.loads(counts)
    return ", ".join(f"{name} {rows:,}" for name, rows in sorted(found.items(), key=lambda item: -item[1]))
