"""`attest inference`: serve one model, or the versions of a registry, over OpenAI's API."""

import asyncio
import importlib
import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from inference import logs
from inference.engine.base import Engine, ModelFolderError
from inference.engine.scripted import ScriptedEngine, read_script
from inference.engines import Engines, OneEngine, VersionedEngines
from inference.quant.command import quantise
from inference.registry import Registry
from inference.sealed import SealedError, plain_view
from inference.sealing import encrypt
from inference.serving import bind, loop_factory, serve
from inference.terminal import plain
from inference.versions import ROLLBACKS

DEMO = Path(__file__).parent / "models" / "chatglm3-demo"
DEFAULT_GATEWAY_PORT = 8080
ENGINES = ("torch", "vllm", "scripted")
DTYPES = ("auto", "bfloat16", "float16", "float32")
DEVICES = ("auto", "cpu", "cuda")


def default_port() -> int:
    """Return the port beside the gateway's, where the gateway looks for the tier by default."""
    text = os.environ.get("ATTEST_PORT", "")
    return (int(text) if text.isdigit() else DEFAULT_GATEWAY_PORT) + 1


@click.group(invoke_without_command=True)
@click.option("--model", "folder", type=click.Path(path_type=Path), envvar="ATTEST_MODEL_DIR", help="ChatGLM3 folder.")
@click.option(
    "--registry",
    "registry",
    type=click.Path(path_type=Path),
    envvar="ATTEST_MODEL_REGISTRY",
    help="Registry of versions to follow instead of one folder.",
)
@click.option(
    "--warm",
    type=click.IntRange(0, ROLLBACKS),
    default=0,
    show_default=True,
    help="Earlier versions of the registry that stay in memory, for a rollback at once.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=default_port, help="Default: ATTEST_PORT + 1.")
@click.option("--dtype", type=click.Choice(DTYPES), default="auto", show_default=True)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="cpu",
    show_default=True,
    help="Where the torch engine computes.",
)
@click.option("--engine", "kind", type=click.Choice(ENGINES), default="torch", show_default=True)
@click.option("--upstream", default="http://127.0.0.1:8000/v1", show_default=True, help="vLLM's address (ends in /v1).")
@click.option("--upstream-model", default="model", show_default=True, help="Name under which vLLM serves the folder.")
@click.option("--script", type=click.Path(path_type=Path), help="Answers of the scripted engine (JSON).")
@click.option("--name", default="", help="Name of the model in the API; default: the folder's name.")
@click.option("--slots", type=click.IntRange(1, 64), default=8, show_default=True, help="Requests decoded together.")
@click.option("--queue", type=click.IntRange(0, 10_000), default=64, show_default=True, help="Requests that may wait.")
@click.option(
    "--context", type=click.IntRange(min=0), default=0, help="Most tokens of one request; default: the model's context."
)
@click.option(
    "--cache-tokens",
    type=click.IntRange(min=0),
    default=0,
    help="Tokens of key-value memory for all requests; default: 4096 a slot, at least one whole context.",
)
@click.pass_context
def inference(
    ctx: click.Context,
    *,
    folder: Path | None,
    registry: Path | None,
    warm: int,
    host: str,
    port: int,
    dtype: str,
    device: str,
    kind: str,
    upstream: str,
    upstream_model: str,
    script: Path | None,
    name: str,
    slots: int,
    queue: int,
    context: int,
    cache_tokens: int,
) -> None:
    """Serve a ChatGLM3 checkpoint folder over OpenAI's chat completions API."""
    if ctx.invoked_subcommand is not None:
        return
    logs.configure(os.environ.get("ATTEST_LOG_LEVEL", "INFO").upper())
    following = registry is not None and _follows(ctx, folder)
    _refuse_idle(ctx, kind, following=following)
    listening = ctx.with_resource(bind(host, port))

    threads: Any = None

    def opened(folder: Path, named: str) -> Engine:
        nonlocal threads
        # Imported by name: only these engines need torch, and a scripted tier starts without it.
        if kind == "vllm":
            vllm = importlib.import_module("inference.engine.vllm_engine")
            where = vllm.Upstream(upstream, upstream_model, os.environ.get("ATTEST_UPSTREAM_API_KEY", ""))
            remote: Engine = vllm.VllmEngine(where, folder, named, context=context)
            return remote
        torch_engine = importlib.import_module("inference.engine.torch_engine")
        limits = torch_engine.Limits(places=slots, queue=queue, context=context, cache_tokens=cache_tokens)
        threads = threads or torch_engine.Threads()
        engine: Engine = torch_engine.open_engine(
            folder, dtype=dtype, device=device, name=named, limits=limits, threads=threads
        )
        return engine

    try:
        engines: Engines
        if kind == "scripted":
            engines = OneEngine(ScriptedEngine(read_script(script) if script else None))
        elif registry is not None and following:
            followed = Registry(registry)
            engines = VersionedEngines(
                followed, lambda version: opened(_folder(followed.folder_of(version)), version.id), warm=warm
            )
        else:
            engines = OneEngine(opened(_folder(folder or DEMO), name))
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve(engines, listening))
    except ModelFolderError as error:
        raise click.ClickException(plain(str(error))) from None
    # Everything is closed. Tearing the interpreter down with torch in it takes seconds that nobody should wait for.
    logging.shutdown()
    os._exit(0)


@inference.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object: see `Report` in inference.chatglm3.check."
)
def check(folder: Path, *, as_json: bool) -> None:
    """Say what is wrong with a ChatGLM3 folder, by name; exit 1 if anything is.

    A folder without a tokenizer can be served, for token ids only: that is said, and is nothing wrong.
    """
    checking = importlib.import_module("inference.chatglm3.check")
    try:
        with plain_view(folder) as view:
            found = checking.check(view)
            said = tuple(problem.replace(str(view), str(folder)) for problem in found.problems)
            report = msgspec.structs.replace(found, folder=str(folder), problems=said)
    except SealedError as error:
        report = checking.Report(str(folder), ok=False, problems=(str(error),))
    if as_json:
        click.echo(plain(msgspec.json.encode(report).decode()))
    else:
        for problem in report.problems:
            click.echo(plain(problem))
        for note in report.notes:
            click.echo(plain(f"note: {note}"))
        if report.parameters:
            needed = ", ".join(f"{size / 2**20:,.0f} MiB in {name}" for name, size in report.weight_bytes.items())
            click.echo(f"{report.parameters:,} parameters, context {report.context}: {needed}")
        if not report.tokenizer:
            click.echo("tokenizer.model is missing: chats and texts will be refused")
        ready = "ready to serve" if report.tokenizer else "ready to serve token ids only"
        click.echo(f"{folder}: {ready if report.ok else 'not ready'}")
    if not report.ok:
        raise click.exceptions.Exit(1)


inference.add_command(quantise)
inference.add_command(encrypt)


_OF_ENGINE = (
    {"script": ("scripted",), "upstream": ("vllm",), "upstream_model": ("vllm",)}
    | dict.fromkeys(("dtype", "device", "slots", "queue", "cache_tokens"), ("torch",))
    | dict.fromkeys(("folder", "name", "context"), ("torch", "vllm"))
)
"""Options that not every engine heeds, and which do."""


def _said(ctx: click.Context, option: str) -> str:
    return next(each.opts[0] for each in ctx.command.params if each.name == option)


def _typed(ctx: click.Context, option: str) -> bool:
    return ctx.get_parameter_source(option) is ParameterSource.COMMANDLINE


def _follows(ctx: click.Context, folder: Path | None) -> bool:
    """Whether the registry is followed, or the folder served: what was typed goes before what the environment says."""
    if _typed(ctx, "registry") and _typed(ctx, "folder"):
        raise click.UsageError("--model and --registry exclude each other.")
    return folder is None or _typed(ctx, "registry")


def _refuse_idle(ctx: click.Context, kind: str, *, following: bool) -> None:
    """Refuse an option that would do nothing: whoever typed it expects something."""
    for option, engines in _OF_ENGINE.items():
        if kind not in engines and _typed(ctx, option):
            raise click.UsageError(f"{_said(ctx, option)} is for --engine {' or '.join(engines)} only.")
    if (following and kind == "vllm") or (kind == "scripted" and _typed(ctx, "registry")):
        # One vLLM, or one script, cannot be several versions: records would name one that did not answer.
        raise click.UsageError("--registry is for --engine torch only: another engine serves one folder, with --model.")
    if _typed(ctx, "warm") and not following:
        raise click.UsageError("--warm is for --registry only.")
    if following and _typed(ctx, "name"):
        raise click.UsageError("--name is for --model only: versions of a registry have names of their own.")


def _folder(folder: Path) -> Path:
    """Say at once what is missing; importing the engine takes seconds."""
    try:
        if not folder.is_dir():
            raise ModelFolderError(f"{folder} is not a folder")
        if not (folder / "config.json").is_file():
            raise ModelFolderError(f"{folder / 'config.json'} is missing")
    except OSError as error:
        raise ModelFolderError(f"{folder} cannot be read: {error.strerror}") from None
    return folder
