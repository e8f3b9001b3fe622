"""Train on a replayed dataset, and say why a signal was given."""

from __future__ import annotations

import typer

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.callback()
def explain() -> None:
    """Train on a replayed dataset, and say why a signal was given."""
