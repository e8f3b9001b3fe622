"""Every error strikelake raises on purpose, grouped by what the caller does next.

* StrikelakeError
    * retry: CommitConflictError, SourceUnavailableError, SpoolUnavailableError, CatalogUnavailableError,
      MonitorsUnavailableError, ExportUnavailableError, DeliveryError, ReportsInUseError
    * look first: CommitStateUnknownError
    * fix the data: SchemaMismatchError, ContractError, MalformedInputError, NotEnoughDataError
    * fix the request: TableNotFoundError, VersionNotFoundError, DatasetNotFoundError, DatasetExistsError,
      DatasetInUseError, QueryError, ModelNotFoundError, AlertNotFoundError, SilenceNotFoundError
    * fix the settings: SettingsError
    * stop the other process: StreamInUseError
    * repair the lake: DamagedTableError
    * bring the model again, or train one: ModelNotReadableError, StaleModelError

Errors of deltalake, duckdb and SQLAlchemy are mapped to these once, where they are called.
"""

from __future__ import annotations

import re

_NOISE = re.compile(r"\x1b\[[0-9;]*m|^\s*(?:\d+: .*|at .*|Stack backtrace:)$", re.MULTILINE)


class StrikelakeError(Exception):
    """Something went wrong in strikelake."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").splitlines()[0])


class CommitConflictError(StrikelakeError):
    """Another writer committed first; read the table again, then retry."""


class SourceUnavailableError(StrikelakeError):
    """A source did not answer; try again later."""


class SpoolUnavailableError(StrikelakeError):
    """The spool cannot be read or written now; nothing was changed, try again."""


class CatalogUnavailableError(StrikelakeError):
    """The catalog database cannot be read or written now; the Delta log still has everything."""


class MonitorsUnavailableError(StrikelakeError):
    """The state of the monitors cannot be read or written now; nothing was changed, try again."""


class ExportUnavailableError(StrikelakeError):
    """The target of an export cannot be read or written now; nothing was changed, try again."""


class DeliveryError(StrikelakeError):
    """A receiver did not take a notification; try again later."""


class ReportsInUseError(StrikelakeError):
    """Another process writes these reports, or has one of their files open; try again."""


class CommitStateUnknownError(StrikelakeError):
    """A commit may or may not have landed; read the transaction version before trying again."""


class SchemaMismatchError(StrikelakeError):
    """The columns or types of a batch do not fit the table."""


class ContractError(StrikelakeError):
    """Rows do not keep the contract of their table."""


class MalformedInputError(StrikelakeError):
    """Input that cannot be read as what it claims to be."""


class NotEnoughDataError(StrikelakeError):
    """There are too few rows, sessions or classes for what was asked."""


class TableNotFoundError(StrikelakeError):
    """There is no such table in this lake."""


class VersionNotFoundError(StrikelakeError):
    """The table has no such version, or had none at that time."""


class DatasetNotFoundError(StrikelakeError):
    """There is no dataset of that name."""


class DatasetExistsError(StrikelakeError):
    """There is a dataset of that name already; datasets never change."""


class DatasetInUseError(StrikelakeError):
    """A dataset still needs what was asked to be dropped."""


class QueryError(StrikelakeError):
    """A query could not be run."""


class ModelNotFoundError(StrikelakeError):
    """There is no such model."""


class AlertNotFoundError(StrikelakeError):
    """There is no such alert that is pending or firing."""


class SilenceNotFoundError(StrikelakeError):
    """There is no such silence."""


class ModelNotReadableError(StrikelakeError):
    """A model's files are damaged, do not belong together, or are not to be trusted."""


class StaleModelError(StrikelakeError):
    """A model is older than it may be; train a new one."""


class SettingsError(StrikelakeError):
    """A setting is missing or not valid."""


class StreamInUseError(StrikelakeError):
    """Another process already writes this stream."""


class DamagedTableError(StrikelakeError):
    """A table cannot be read as it stands."""


def one_line(error: BaseException) -> str:
    """What a foreign error says, in one line: deltalake's have several, with colours and backtraces."""
    lines = (line.strip() for line in _NOISE.sub("", str(error)).splitlines())
    told = " ".join(line for line in lines if line)
    return told or type(error).__name__
