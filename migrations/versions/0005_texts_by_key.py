"""Dialogue texts are found by their key: erasing a person and pruning must not read every text there is."""

from alembic import op

revision = "0005_texts_by_key"
down_revision = "0004_proof"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("audit_text_by_key", "audit_text", ["key_id"])


def downgrade() -> None:
    op.drop_index("audit_text_by_key", "audit_text")
