"""Models and the datasets they were trained on.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_runs",
        sa.Column("model_version", sa.String(64), primary_key=True),
        sa.Column("exchange", sa.String(16), nullable=False),
        sa.Column("dataset", sa.String(64), nullable=False),
        sa.Column("dataset_digest", sa.String(32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("logloss", sa.Double(), nullable=False),
        sa.Column("baseline_logloss", sa.Double(), nullable=False),
        sa.Column("path", sa.String(1024), nullable=False),
    )
    op.create_index("ix_model_runs_dataset", "model_runs", ["dataset"])


def downgrade() -> None:
    op.drop_table("model_runs")
