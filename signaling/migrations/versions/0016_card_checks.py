"""Card checks on a provider's page."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016_card_checks"
down_revision: str | None = "0015_order_reversals"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

COLUMNS = (
    ("email_mark", sa.String(64)),
    ("provider_ref", sa.String(200)),
    ("redirect_url", sa.Text()),
    ("redirect_until_ms", sa.BigInteger()),
)


def upgrade() -> None:
    """Add the columns."""
    for name, kind in COLUMNS:
        op.add_column("free_credit_claims", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    """Drop them."""
    for name, _ in COLUMNS:
        op.drop_column("free_credit_claims", name)
