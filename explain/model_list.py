"""The trained models, a row each, as `strikelake explain models` lists them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explain.model_folder import model_folders, read_info
from lake.errors import ModelNotReadableError


def list_models(models: Path, exchanges: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """What there is, oldest first.

    Args:
        models: Folder of all models.
        exchanges: Of which exchanges.

    Returns:
        Rows, and what is wrong with the models that cannot be read.
    """
    rows: list[dict[str, Any]] = []
    damaged = []
    for exchange in exchanges:
        for folder in model_folders(models, exchange):
            try:
                info = read_info(folder)
            except ModelNotReadableError as error:
                damaged.append(str(error))
                continue
            rows.append(
                {
                    "exchange": exchange, "model_version": info.model_version,
                    "dataset": info.dataset["name"], "symbols": ", ".join(info.symbols),
                    "rows": info.metrics.get("rows"),
                    "logloss": info.metrics.get("logloss"),
                    "baseline_logloss": info.metrics.get("baseline_logloss"),
                    "better": info.metrics.get("beats_baseline"), "created_at": info.created_at,
                    "content_digest": info.dataset["content_digest"], "path": str(folder),
                }
            )  # fmt: skip
    return sorted(rows, key=lambda row: row["created_at"]), damaged
