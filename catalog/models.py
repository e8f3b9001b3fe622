"""Tables of the catalog database."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment, kept in UTC; SQLite alone would hand back naive ones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        del dialect
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """From UTC, with zone."""
        del dialect
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Base(DeclarativeBase):
    """Root of the models."""


# SQLite counts up only in a column that is an INTEGER to the letter.
_Id = BigInteger().with_variant(Integer, "sqlite")


class FeatureBatch(Base):
    """One micro-batch in one partition: a data file of a Delta commit.

    Attributes:
        id: Row number of the mirror.
        batch_time: When the batch was committed.
        exchange: Second partition value.
        parquet_path: The file as committed, relative to the lake's root where it lies under it.
        record_count: Rows.
        checksum: SHA-256 of the file, hexadecimal.
        created_at: When the file was written.
        table_name: Delta table.
        table_version: Version that the commit made.
        date: First partition value, the session date.
        batch_id: As in the column `batch_id` of the rows.
        app_id: App whose stream the batch is from.
        seq_first: First spool sequence of the batch.
        seq_last: Last spool sequence of the batch.
        size_bytes: Size of the file.
        first_event_time: Earliest `event_time` (of receipt, where rows have none).
        last_event_time: Latest.
        content_digest: Digest of the rows, see `lake.digest`.
        state: `committed`; `foreign` if strikelake did not write the commit; `dropped` once its session was
            dropped on purpose.
        flagged_rows: Rows by data-quality flag, a JSON object; null for tables that have no flags, and for
            commits that did not count them.
    """

    __tablename__ = "ml_feature_batches"
    __table_args__ = (
        Index("ix_ml_feature_batches_exchange_batch_time", "exchange", "batch_time"),
        Index("ix_ml_feature_batches_batch_id", "batch_id"),
        UniqueConstraint(
            "table_name", "table_version", "parquet_path", name="uq_ml_feature_batches_table_version_path"
        ),
    )

    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=True)
    batch_time: Mapped[datetime] = mapped_column(UtcDateTime)
    exchange: Mapped[str] = mapped_column(String(16))
    parquet_path: Mapped[str] = mapped_column(String(1024))
    record_count: Mapped[int] = mapped_column(BigInteger)
    checksum: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    table_name: Mapped[str] = mapped_column(String(128))
    table_version: Mapped[int] = mapped_column(BigInteger)
    date: Mapped[date] = mapped_column(Date)
    batch_id: Mapped[str | None] = mapped_column(String(128))
    app_id: Mapped[str | None] = mapped_column(String(64))
    seq_first: Mapped[int | None] = mapped_column(BigInteger)
    seq_last: Mapped[int | None] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    first_event_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_event_time: Mapped[datetime | None] = mapped_column(UtcDateTime)
    content_digest: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16))
    flagged_rows: Mapped[str | None] = mapped_column(String(1024))


class MirrorCursor(Base):
    """How far the mirror has followed the log of a table.

    Attributes:
        table_name: Delta table.
        table_version: Newest version that is mirrored.
    """

    __tablename__ = "mirror_cursors"

    table_name: Mapped[str] = mapped_column(String(128), primary_key=True)
    table_version: Mapped[int] = mapped_column(BigInteger)


class DatasetRow(Base):
    """One dataset, as its manifest in the lake says.

    Attributes:
        name: Its name.
        created_at: When it was created.
        first_date: Earliest session date asked for.
        last_date: Latest.
        query: SQL text over the views, None for the tables as they are.
        row_count: Rows of what replay gives.
        content_digest: Their digest.
        manifest_sha256: Digest of the manifest file: a catalog that stands apart proves the manifest.
    """

    __tablename__ = "datasets"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    first_date: Mapped[date] = mapped_column(Date)
    last_date: Mapped[date] = mapped_column(Date)
    query: Mapped[str | None] = mapped_column(Text)
    row_count: Mapped[int] = mapped_column(BigInteger)
    content_digest: Mapped[str] = mapped_column(String(32))
    manifest_sha256: Mapped[str] = mapped_column(String(64))


class DatasetBatch(Base):
    """One batch and partition that a dataset contains.

    Attributes:
        dataset: Name of the dataset.
        table_name: Delta table.
        batch_id: The batch.
        date: First partition value.
        exchange: Second partition value.
    """

    __tablename__ = "dataset_batches"
    __table_args__ = (Index("ix_dataset_batches_batch_id", "batch_id"),)

    dataset: Mapped[str] = mapped_column(
        String(64),
        ForeignKey("datasets.name", name="fk_dataset_batches_dataset", ondelete="CASCADE"),
        primary_key=True,
    )
    table_name: Mapped[str] = mapped_column(String(128), primary_key=True)
    batch_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    date: Mapped[date] = mapped_column(Date, primary_key=True)
    exchange: Mapped[str] = mapped_column(String(16), primary_key=True)


class ModelRun(Base):
    """One trained model, as its `model.json` says.

    Attributes:
        model_version: `<last session date>-<first digits of model_sha256>`.
        exchange: Whose rows it was trained on.
        dataset: Name of the dataset. No foreign key: a dataset may be deleted, and the model is still there.
        dataset_digest: Content digest of that dataset: another of the same name is another one.
        created_at: When it was made.
        model_sha256: Of `model.txt`.
        row_count: Rows it was trained on.
        seed: Of the training.
        logloss: Of the test rows of all folds.
        baseline_logloss: Of the same rows, by class frequencies.
        path: Its folder.
    """

    __tablename__ = "model_runs"
    __table_args__ = (Index("ix_model_runs_dataset", "dataset"),)

    model_version: Mapped[str] = mapped_column(String(64), primary_key=True)
    exchange: Mapped[str] = mapped_column(String(16))
    dataset: Mapped[str] = mapped_column(String(64))
    dataset_digest: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    model_sha256: Mapped[str] = mapped_column(String(64))
    row_count: Mapped[int] = mapped_column(BigInteger)
    seed: Mapped[int] = mapped_column(BigInteger)
    logloss: Mapped[float] = mapped_column(Double)
    baseline_logloss: Mapped[float] = mapped_column(Double)
    path: Mapped[str] = mapped_column(String(1024))
