"""An option of `attest inference` that the chosen engine does not heed is refused before anything starts."""

import click
import pytest
from click.testing import CliRunner

from inference.cli import ENGINES, inference

HEEDED = {
    "--script=x": {"scripted"},
    "--upstream=http://localhost/v1": {"vllm"},
    "--upstream-model=x": {"vllm"},
    "--dtype=float32": {"torch"},
    "--device=cpu": {"torch"},
    "--slots=2": {"torch"},
    "--queue=2": {"torch"},
    "--cache-tokens=100": {"torch"},
    "--model=nowhere": {"torch", "vllm"},
    "--name=x": {"torch", "vllm"},
    "--context=100": {"torch", "vllm"},
    "--registry=nowhere": {"torch"},
}
OF_ALL = {"--host", "--port", "--engine", "--help"}


@pytest.fixture(autouse=True)
def nothing_is_served(monkeypatch):
    monkeypatch.setattr("inference.logs.configure", lambda _: None)
    monkeypatch.setattr("inference.cli.bind", lambda *_: pytest.fail("begins to serve", pytrace=False))


@pytest.mark.parametrize(
    ("engine", "option"), [(engine, option) for option, by in HEEDED.items() for engine in ENGINES if engine not in by]
)
def test_an_engine_refuses_an_option_that_it_does_not_heed(engine, option):
    done = CliRunner().invoke(inference, ["--engine", engine, option])
    assert done.exit_code == 2
    assert f"{option.partition('=')[0]} is for --engine {' or '.join(sorted(HEEDED[option]))} only" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--registry=nowhere", "--name=x"], "--name is for --model only"),
        (["--model=nowhere", "--warm=1"], "--warm is for --registry only"),
        (["--engine=vllm", "--warm=1"], "--warm is for --registry only"),
    ],
)
def test_an_option_without_the_other_that_it_needs_is_refused(arguments, said):
    done = CliRunner().invoke(inference, arguments)
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_every_option_is_looked_at():
    """Whoever adds an option says which engine heeds it."""
    known = {option.partition("=")[0] for option in HEEDED} | OF_ALL | {"--warm"}
    assert {parameter.opts[0] for parameter in inference.params} | {"--help"} == known


@pytest.mark.parametrize("environment", [{"ATTEST_MODEL_DIR": "nowhere"}, {"ATTEST_MODEL_REGISTRY": "nowhere"}])
def test_what_the_environment_says_for_another_engine_is_no_fault(environment, monkeypatch):
    def begins(*_):
        raise click.ClickException("begins to serve")

    monkeypatch.setattr("inference.cli.bind", begins)
    done = CliRunner().invoke(inference, ["--engine", "scripted"], env=environment)
    assert (done.exit_code, "begins to serve" in done.output) == (1, True)
