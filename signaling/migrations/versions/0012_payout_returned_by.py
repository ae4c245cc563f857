"""Who noted that the bank sent a payout back."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012_payout_returned_by"
down_revision: str | None = "0011_marks"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("payouts", sa.Column("returned_by", sa.String(64)))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("payouts", "returned_by")
