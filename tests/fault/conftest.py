from tests.contract.conftest import database

__all__ = ["database"]
