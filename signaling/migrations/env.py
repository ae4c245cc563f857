"""Alembic's entry: runs revisions on the connection that `signaling.migrate` hands over."""

from alembic import context

import billing_meter.schema  # noqa: F401 - registers its tables
import signaling.schema  # noqa: F401 - registers its tables
from billing_meter.database import METADATA

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    # SQLite cannot alter a column; alembic then copies the table.
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
