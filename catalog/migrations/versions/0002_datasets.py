"""Datasets and the batches they are made of.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_date", sa.Date(), nullable=False),
        sa.Column("last_date", sa.Date(), nullable=False),
        sa.Column("query", sa.Text()),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("content_digest", sa.String(32), nullable=False),
        sa.Column("manifest_sha256", sa.String(64), nullable=False),
    )
    op.create_table(
        "dataset_batches",
        sa.Column("dataset", sa.String(64), primary_key=True),
        sa.Column("table_name", sa.String(128), primary_key=True),
        sa.Column("batch_id", sa.String(128), primary_key=True),
        sa.Column("date", sa.Date(), primary_key=True),
        sa.Column("exchange", sa.String(16), primary_key=True),
        sa.ForeignKeyConstraint(
            ["dataset"], ["datasets.name"], name="fk_dataset_batches_dataset", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_dataset_batches_batch_id", "dataset_batches", ["batch_id"])


def downgrade() -> None:
    op.drop_table("dataset_batches")
    op.drop_table("datasets")
