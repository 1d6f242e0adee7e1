from tests.contract.conftest import database, small

__all__ = ["database", "small"]
