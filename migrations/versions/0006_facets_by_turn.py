"""Facets are found by their turn: counting what turns have must not read every facet there is."""

from alembic import op

revision = "0006_facets_by_turn"
down_revision = "0005_texts_by_key"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("audit_facet_by_turn", "audit_facet", ["turn_id", "facet", "value"])


def downgrade() -> None:
    op.drop_index("audit_facet_by_turn", "audit_facet")
