"""The database's shape, step by step (Alembic); `migrations.run.upgrade` brings a database up to date."""
