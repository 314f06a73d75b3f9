"""Which model file a device says is deployed: a claim like its evidence, and the same for most of a fleet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what was stated before named no model."""
    op.add_column("statements", sa.Column("model", sa.String, nullable=False, server_default=""))
