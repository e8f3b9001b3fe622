"""The page's own statements, `sql/dashboard/`."""

from __future__ import annotations

from functools import cache

from lake.queries import QUERIES, Query, load_query

DASHBOARD = QUERIES / "dashboard"


@cache
def dashboard_query(name: str) -> Query:
    """A statement of `sql/dashboard/`.

    Raises:
        QueryError: There is none of that name.
    """
    return load_query(DASHBOARD / f"{name}.sql")
