"""Batches and mirror cursors.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "ml_feature_batches",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("batch_time", _TIME, nullable=False),
        sa.Column("exchange", sa.String(16), nullable=False),
        sa.Column("parquet_path", sa.String(1024), nullable=False),
        sa.Column("record_count", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("table_name", sa.String(128), nullable=False),
        sa.Column("table_version", sa.BigInteger(), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("batch_id", sa.String(128)),
        sa.Column("app_id", sa.String(64)),
        sa.Column("seq_first", sa.BigInteger()),
        sa.Column("seq_last", sa.BigInteger()),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("first_event_time", _TIME),
        sa.Column("last_event_time", _TIME),
        sa.Column("content_digest", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.UniqueConstraint(
            "table_name", "table_version", "parquet_path", name="uq_ml_feature_batches_table_version_path"
        ),
    )
    op.create_index(
        "ix_ml_feature_batches_exchange_batch_time", "ml_feature_batches", ["exchange", "batch_time"]
    )
    op.create_index("ix_ml_feature_batches_batch_id", "ml_feature_batches", ["batch_id"])
    op.create_table(
        "mirror_cursors",
        sa.Column("table_name", sa.String(128), primary_key=True),
        sa.Column("table_version", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("mirror_cursors")
    op.drop_table("ml_feature_batches")
