"""The safety layer's own commands of `attest safety`: check a text, try the rules' examples, check a policy file.

`gateway.commands.safety` names them beside those of other layers.
"""

import asyncio
import json
import re
import sys
from pathlib import Path

import click
import msgspec

from safety.classifier.manifest import SHIPPED, load
from safety.compose import build_safety
from safety.explain import Report, explain
from safety.parts import recommended
from safety.pipeline import Pipeline
from safety.policy import DEFAULT_POLICY, complete, load_policy, policy_hash
from safety.ports import Direction, TurnContext
from safety.trial import try_rules

_LONE = re.compile("[\ud800-\udfff]")
"""Half of a pair; the interpreter makes them of bytes that are no text."""
_BLOCKED = 3
"""Exit code of `check` for a text that may not pass."""


@click.command()
@click.argument("text")
@click.option("--direction", type=click.Choice([d.value for d in Direction]), default="input", show_default=True)
@click.option("--group", "groups", multiple=True, help="A group of the person; may be given several times.")
@click.option("--policy", "policy_file", type=click.Path(path_type=Path), envvar="ATTEST_POLICY", default=None)
@click.option("--model-dir", type=click.Path(path_type=Path), default=None, help="Folder of the classifier.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def check(
    ctx: click.Context,
    text: str,
    direction: str,
    groups: tuple[str, ...],
    policy_file: Path | None,
    model_dir: Path | None,
    as_json: bool,
) -> None:
    """Explain the verdict on TEXT: stages, rules, spans, scores, thresholds. `-` reads standard input.

    Exit code 0 when the text may pass (also redacted), 3 when it may not.
    """
    if text == "-":
        text = sys.stdin.read()
    text = _LONE.sub("\ufffd", text)
    try:
        pipeline = build_safety(policy_file, model_dir)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None
    report = asyncio.run(_check(pipeline, text, TurnContext(direction=Direction(direction), groups=groups)))
    click.echo(msgspec.json.encode(report).decode() if as_json else report.in_words())
    ctx.exit(_BLOCKED if report.blocked else 0)


async def _check(pipeline: Pipeline, text: str, context: TurnContext) -> Report:
    try:
        decision = await pipeline.examine(text, context)
        return explain(text, decision, pipeline)
    finally:
        await pipeline.close()


@click.group()
def rules() -> None:
    """Look at the filter rules."""


@rules.command("test")
@click.option("--policy", "file", type=click.Path(path_type=Path), envvar="ATTEST_POLICY", default=DEFAULT_POLICY)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def test_rules(ctx: click.Context, file: Path, as_json: bool) -> None:
    """Run every rule's examples and counter-examples, and name the policy's entries for rules that there are none of.

    Exit code 0 when all hold, 1 otherwise.
    """
    try:
        report = try_rules(load_policy(file))
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    click.echo(msgspec.json.encode(report).decode() if as_json else report.in_words())
    ctx.exit(1 if report.failures else 0)


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_POLICY)
@click.option("--model-dir", type=click.Path(path_type=Path), default=SHIPPED, help="Folder of the classifier.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def policy(file: Path, model_dir: Path, as_json: bool) -> None:
    """Check the policy FILE (default: the one that ships); print its hash and the thresholds in force."""
    try:
        checked = complete(load_policy(file), recommended(load(model_dir)[0]))
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    digest = policy_hash(checked)
    if as_json:
        bands = {name.value: [part.uncertain, part.block] for name, part in checked.classifier.items()}
        click.echo(json.dumps({"name": checked.name, "version": checked.version, "hash": digest, "thresholds": bands}))
    else:
        click.echo(f"{checked.name} {checked.version} is sound\nsha256:{digest}")
        for name, part in checked.classifier.items():
            click.echo(f"  {name.value}: uncertain from {part.uncertain}, block from {part.block}")
