from tests.contract.conftest import database, postgres

__all__ = ["database", "postgres"]
