"""`attest safety eval`: figures of the classifier on labelled files."""

import asyncio
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from safety.classifier.guard import HarmClassifier
from safety.classifier.manifest import SHIPPED, ClassifierError
from safety.evaluation.figures import Figures
from safety.evaluation.rows import Row, RowsError, read
from safety.evaluation.run import Report, judge_all, judge_by_pipeline, report
from safety.parts import filters, recommended
from safety.pipeline import Pipeline
from safety.policy import DEFAULT_POLICY, PolicyError, complete, load_policy


@click.command("eval")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--guard", type=click.Choice(["classifier", "pipeline"]), default="classifier", show_default=True)
@click.option("--policy", type=click.Path(dir_okay=False, path_type=Path), default=DEFAULT_POLICY, help="For pipeline.")
@click.option(
    "--model", type=click.Path(file_okay=False, path_type=Path), default=SHIPPED, help="Folder of the classifier."
)
@click.option("--threshold", type=click.FloatRange(0, 1), default=None, help="One threshold for all categories.")
@click.option("--band", type=click.Choice(["uncertain", "block"]), default="block", show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Batches of one text that are judged side by side: long texts gain.",
)
def evaluate(
    files: tuple[Path, ...],
    as_json: bool,
    guard: str,
    policy: Path,
    model: Path,
    threshold: float | None,
    band: str,
    threads: int,
) -> None:
    """Compare a guard with labelled texts: FILES in jsonl (or jsonl.gz) with `text` and `labels`.

    `--guard pipeline` asks all guards and the policy: a text counts as caught when it would be blocked.
    """
    try:
        rows = [row for path in files for row in read(path)]
        if guard == "pipeline":
            result = asyncio.run(_evaluate_pipeline(rows, model, policy, threads))
        else:
            result = asyncio.run(_evaluate(rows, model, threshold, band, threads))
    except (RowsError, ClassifierError, PolicyError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(msgspec.json.encode(result).decode() if as_json else _table(result))


async def _evaluate(rows: list[Row], model: Path, threshold: float | None, band: str, threads: int) -> Report:
    guard = HarmClassifier(model, threads=threads, reported=0.0)
    guard.validate()
    try:
        thresholds = {
            name: threshold if threshold is not None else float(getattr(bands, band))
            for name, bands in guard.manifest.thresholds.items()
        }
        return report(guard, rows, await judge_all(guard, rows, thresholds), thresholds)
    finally:
        await guard.close()


async def _evaluate_pipeline(rows: list[Row], model: Path, file: Path, threads: int) -> Report:
    classifier = HarmClassifier(model, threads=threads, reported=0.0)
    policy = complete(load_policy(file), recommended(classifier.manifest))
    pipeline = Pipeline((*filters(policy), classifier), policy, guard_timeout_s=60)
    pipeline.validate()
    try:
        thresholds = {name.value: bands.block for name, bands in policy.classifier.items()}
        named = _Pipeline("pipeline", pipeline.policy_hash)
        return report(named, rows, await judge_by_pipeline(pipeline, rows), thresholds)
    finally:
        await pipeline.close()


class _Pipeline(NamedTuple):
    name: str
    version: str


def _table(result: Report) -> str:
    heads = f"{'set':<28}{'n':>7}{'auprc':>8}{'auroc':>8}{'f1':>8}{'prec':>8}{'recall':>8}{'fpr':>8}{'acc':>8}"
    lines = [heads, *(_line(name, row) for name, row in result.sets.items()), ""]
    lines += [_line(name, row) for name, row in result.by_language.items()]
    lines += ["", *(_line(name, row) for name, row in result.by_category.items())]
    speed = f"p50 {result.latency_ms.p50} ms, p99 {result.latency_ms.p99} ms, {result.texts_per_second} texts/s"
    return "\n".join([*lines, "", speed])


def _line(name: str, row: Figures) -> str:
    values = (row.auprc, row.auroc, row.f1, row.precision, row.recall, row.fpr, row.accuracy)
    return f"{name:<28}{row.n:>7}" + "".join(f"{'-' if value is None else f'{value:.3f}':>8}" for value in values)
