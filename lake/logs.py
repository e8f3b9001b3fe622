"""Logging of the command line: one line an event, to stderr, its fields after it."""

from __future__ import annotations

import logging
import sys

from lake.output import printable

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FieldFormatter(logging.Formatter):
    """`time level event key=value ...`; the event is constant, values are fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it if there is one."""
        head, newline, rest = super().format(record).partition("\n")
        fields = " ".join(f"{k}={v}" for k, v in vars(record).items() if k not in _STANDARD)
        # Values come from others' files: they must neither end the line nor drive the terminal.
        below = "\n".join(map(printable, rest.split("\n")))
        return f"{printable(f'{head} {fields}' if fields else head)}{newline}{below}"


def configure_logging(*, verbose: bool) -> None:
    """Warnings and worse to stderr; with `verbose`, one line a micro-batch as well."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FieldFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
