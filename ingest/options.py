"""Options that commands of `ingest` share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

CapturedAt = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"],
        help="Indian time the files were saved at, for formats that do not say it.",
    ),
]
