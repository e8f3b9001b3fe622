"""Options that commands of `ingest` share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

CapturedAt = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        metavar="TIME",
        help="Indian time the files were saved at, for formats that do not say it: '2026-06-30 15:31'.",
    ),
]
