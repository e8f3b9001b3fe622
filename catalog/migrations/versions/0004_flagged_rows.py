"""How many rows of a batch are flagged, by flag.

Batches mirrored before have null; 'strikelake catalog rebuild' fills in what their commits recorded.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ml_feature_batches", sa.Column("flagged_rows", sa.String(1024)))


def downgrade() -> None:
    op.drop_column("ml_feature_batches", "flagged_rows")
