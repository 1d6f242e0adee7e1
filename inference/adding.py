"""`attest models add`: a folder of weights becomes a version of the registry. Needs torch, unlike the others."""

import fcntl
import json
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import click
import msgspec

from inference.chatglm3.check import Report, check
from inference.chatglm3.folder import FolderError, sha256
from inference.registry import Registry
from inference.sealed import SealedError, plain_view
from inference.terminal import plain
from inference.versions import RegistryError, State, Version, activated, added, manifest_hash, now, version_id

NOT_USABLE = 1
FAILED = 3
_FICLONE = 0x40049409
"""Linux, ioctl_ficlone(2): a file gets the blocks of another."""


@click.command("add")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--registry", "place", type=click.Path(path_type=Path), envvar="ATTEST_MODEL_REGISTRY", required=True, help="Where."
)
@click.option("--name", default="", help="Label of the version; default: the folder's name.")
@click.option("--model", default="", help="Of a new registry: the name that people ask for; default: the label.")
@click.option("--json", "as_json", is_flag=True, help="Print the version as one object.")
def add(folder: Path, *, place: Path, name: str, model: str, as_json: bool) -> None:
    """Check a folder, copy it into the registry and print the new version's id.

    Nothing answers with it yet, unless it is the first: that is active at once, which the gateway records before its
    first turn.
    Nothing that becomes of the folder later changes the version; what is checked is what is kept.
    Exit codes: 0 done, 1 the folder cannot be served or is here already, 2 wrong use, 3 the registry cannot be used.
    """
    registry, label = Registry(place), name or folder.resolve().name
    try:
        version = _add(registry, folder, label, model or label)
    except RegistryError as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)
    click.echo(json.dumps(msgspec.to_builtins(version), indent=2) if as_json else version.id)


def _add(registry: Registry, folder: Path, label: str, model: str) -> Version:
    """Copy and check without the lock, which takes minutes: meanwhile others may roll back."""
    version_id(label, "")  # a name that cannot be used is refused before gigabytes are copied
    _state(registry, model)  # and so is a registry that cannot be read
    fresh = registry.place()
    try:
        version = _checked(folder, fresh, label)
        with registry.locked() as write:
            state = _state(registry, model)
            if any(one.id == version.id for one in state.versions):
                _refuse((f"{version.id} is in the registry already",), fresh, folder)
            state = added(state, version)
            state = state if state.active else activated(state, version.id)
            registry.discard(version)  # what is there without being in the state is left from an addition cut short
            fresh.rename(registry.folder_of(version))
            try:
                write(state)
            except RegistryError:
                if version not in _state(registry, model).versions:
                    registry.folder_of(version).rename(fresh)
                raise
    except (SealedError, FolderError) as error:
        _refuse((str(error),), fresh, folder)
    except OSError as error:
        raise RegistryError(f"{folder} cannot be copied to {registry.folder}: {error.strerror}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return version


def _state(registry: Registry, model: str) -> State:
    return registry.read() if registry.file.exists() else State(model=model)


def _checked(folder: Path, fresh: Path, label: str) -> Version:
    _copy(folder, fresh)
    with plain_view(fresh) as view:
        report = check(view)
    if not report.ok:
        _refuse((*report.problems, *_links(folder)), fresh, folder)
    if not report.tokenizer:
        _refuse(("tokenizer.model is missing: a version must be able to chat",), fresh, folder)
    return _version(label, report, fresh)


def _copy(folder: Path, to: Path) -> None:
    """Copy every plain file; links and folders in it are not followed."""
    for path in sorted(folder.iterdir()):
        if not path.is_symlink() and path.is_file():
            _copy_file(path, to / path.name)


def _copy_file(path: Path, to: Path) -> None:
    """Copy a file: never a hard link, which whoever writes to the original would write to as well.

    Where the file system can, both share their blocks until one of them is written to.
    """
    with path.open("rb") as original, to.open("xb") as copy:
        try:
            fcntl.ioctl(copy, _FICLONE, original.fileno())
        except OSError:
            shutil.copyfile(path, to)


def _links(folder: Path) -> list[str]:
    """Say which files are missing here because they are links, as in the cache of a downloader."""
    names = ", ".join(path.name for path in sorted(folder.iterdir()) if path.is_symlink())
    return [f"links are not followed ({names}): copy the folder with `cp -rL` and add the copy"] if names else []


def _refuse(problems: tuple[str, ...], fresh: Path, folder: Path) -> NoReturn:
    for problem in problems:
        click.echo(plain(problem.replace(str(fresh), str(folder))), err=True)
    sys.exit(NOT_USABLE)


def _version(label: str, report: Report, folder: Path) -> Version:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    return Version(
        id=version_id(label, report.revision),
        name=label,
        revision=report.revision,
        precision=report.precision if report.precision != "float" else _precision(folder),
        manifest=manifest_hash({name: sha256(folder / name) for name in sizes}),
        bytes=sum(sizes.values()),
        added=now(),
    )


def _precision(folder: Path) -> str:
    config: dict[str, object] = json.loads((folder / "config.json").read_bytes())
    return str(config.get("torch_dtype", "float16"))
