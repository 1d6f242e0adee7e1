"""`attest safety` has every command of the safety layer: one that only the layer's own group names cannot be run."""

import click
import pytest

from gateway.commands.safety import safety
from safety.cli import safety as layer


@pytest.mark.parametrize("name", layer.list_commands(click.Context(layer)))
def test_a_command_of_the_layer_is_a_command_of_attest(name):
    assert name in safety.list_commands(click.Context(safety))
