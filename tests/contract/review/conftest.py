"""A log, its sequencer and a review queue, on either database."""

from tests.contract.governing.conftest import engine, governor, log, raw

__all__ = ["engine", "governor", "log", "raw"]
