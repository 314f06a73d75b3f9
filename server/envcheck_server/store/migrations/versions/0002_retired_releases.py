"""Releases can be retired."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add when a release was retired; of those that are there, none was."""
    op.add_column("releases", sa.Column("retired_at", sa.BigInteger))
