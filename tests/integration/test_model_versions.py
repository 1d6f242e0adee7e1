"""Versions of a model over real processes: added, activated while an answer runs, rolled back, mirrored, on record."""

import json
import time

import openai
import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from inference.chatglm3.check import check
from tests.rig.product import ROOT, Product, eventually, running_product
from tests.unit.inference import tiny


class Models:
    """`attest models` on the product's registry, without a process for each command."""

    def __init__(self, product: Product) -> None:
        self._product = product

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["models", *arguments], env=self._product.environment)

    def did(self, *arguments: str) -> dict:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, (done.stderr, done.exception)
        return json.loads(done.stdout)


def activations(product: Product) -> list[dict]:
    arguments = ["audit", "records", "--kind", "model.activated"]
    done = CliRunner().invoke(main, arguments, env=product.environment)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def revisions(tmp_path_factory):
    """Build three checkpoints that differ in their weights."""
    folders = [
        tiny.build(tmp_path_factory.mktemp("weights") / f"v{seed}", seed=seed, context=512) for seed in (1, 2, 3)
    ]
    return {folder: check(folder).revision for folder in folders}


@pytest.fixture(scope="module")
def product(tmp_path_factory, revisions):
    """Run the product over a registry of two versions, the first active."""
    folder = tmp_path_factory.mktemp("versions")
    registry = folder / "registry"
    environment = {"ATTEST_MODEL_REGISTRY": str(registry)}
    first, second, _ = revisions
    for one in (first, second):
        add = ["models", "add", str(one), "--registry", str(registry), "--model", "glm"]
        assert CliRunner().invoke(main, add).exit_code == 0
    with running_product(folder, tier=("--warm", "1"), **environment) as running:
        yield running


def client(product: Product) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{product.url}/v1", api_key=product.token("alice"), max_retries=0)


def ask(product: Product, text: str = "hi", **fields) -> str:
    """Take a turn and return its id."""
    with client(product) as api:
        asked = {"model": "glm", "messages": [{"role": "user", "content": text}], "max_tokens": 5, "temperature": 0}
        answer = api.chat.completions.create(**asked | fields)
    return answer.id.removeprefix("chatcmpl-")


def revision_of(product: Product, turn: str) -> str:
    return product.trails([turn])[0].records[-1].model_revision


def test_versions_over_real_processes(product, revisions):
    models = Models(product)
    first, second, third = revisions.values()
    # The first version of a registry is active, and on record before the first turn.
    with client(product) as api:
        assert [model.id for model in api.models.list()] == ["glm"]
    assert revision_of(product, ask(product)) == first
    assert [(one["detail"]["action"], one["model_revision"]) for one in activations(product)] == [("found", first)]

    # An answer runs while another version is activated: it ends whole, with the version that began it.
    with client(product) as api:
        asked = {"messages": [{"role": "user", "content": "go on"}], "temperature": 0, "seed": 1}
        stream = iter(api.chat.completions.create(model="glm", max_tokens=400, stream=True, **asked))
        opening = next(stream)
        activated = models.did("activate", "v2")
        rest = list(stream)
    assert activated["active"].startswith("v2@")
    # A random model may say what a guard blocks; it must not break off.
    assert rest[-1].choices[0].finish_reason in ("stop", "length", "content_filter")
    assert revision_of(product, opening.id.removeprefix("chatcmpl-")) == first
    assert eventually(lambda: revision_of(product, ask(product)) == second, 20)

    # A third one is added while all runs, answers a group, and mirrors.
    added = models.did("add", str(list(revisions)[2]))
    assert added["revision"] == third
    canary = models.did("canary", "v3", "--group", "staff")
    assert canary["canary"] == {"version": added["id"], "percent": 0, "groups": ["staff"]}
    assert eventually(lambda: revision_of(product, ask(product)) == third, 20)
    done = models.run("canary", "--end")
    assert ["v2", "active"] in [[line.partition("@")[0], line.split()[1]] for line in done.stdout.splitlines()]
    assert models.run("canary", "--end").exit_code == 1, "nothing to end is nothing to record"
    models.did("mirror", "v3")
    assert eventually(lambda: mirrored_by(product, ask(product)) == (second, third), 60)

    # Rolled back within seconds: the version before is still open (`--warm 1`).
    began = time.monotonic()
    back = models.did("rollback")
    seconds = time.monotonic() - began
    assert (back["active"].partition("@")[0], back["canary"], back["mirror"]) == ("v1", None, None)
    assert seconds < 20
    assert eventually(lambda: revision_of(product, ask(product)) == first, 20)

    # Each change is one record, by whom, before it was carried out.
    records = activations(product)
    actions = [one["detail"]["action"] for one in records]
    assert actions == ["found", "activate", "canary", "canary_end", "mirror", "rollback"]
    assert all(one["subject"].startswith("cli:") for one in records[1:])
    assert [one["model_revision"] for one in records] == [first, second, second, second, second, first]
    stages = {one["name"]: (one["stage"], one["serving"]) for one in models.did("list")["versions"]}
    assert stages["v1"] == ("active", True)

    # What is of no use any more can be removed, on record first; what is in use, or can be rolled back to, cannot.
    assert models.run("remove", "v1").exit_code == 1
    left = models.did("remove", "v2")
    assert sorted(one["name"] for one in left["versions"]) == ["v1", "v3"]
    assert not list((product.folder / "registry" / "versions").glob("v2*"))
    last = activations(product)[-1]
    assert (last["detail"]["action"], last["detail"]["removed"], last["model_revision"]) == ("remove", second, first)
    assert revision_of(product, ask(product)) == first
    assert len(activations(product)) == len(records) + 1, "nothing new was found"


def mirrored_by(product: Product, turn: str) -> tuple[str, str]:
    def found():
        records = product.trails([turn])[0].records
        return [one for one in records if one.kind == "turn.mirrored"]

    records = eventually(found, 2) or []
    return revision_of_closing(product, turn), "".join(one.model_revision for one in records)


def revision_of_closing(product: Product, turn: str) -> str:
    [closing] = [one for one in product.trails([turn])[0].records if one.kind in ("turn.completed", "turn.blocked")]
    return closing.model_revision


def test_what_cannot_be_is_refused_and_not_recorded(product):
    models, before = Models(product), len(activations(product))
    known = models.did("list")
    for arguments, code, said in (
        (("activate", "nothing"), 1, "no version"),
        (("activate", known["active"]), 1, "active already"),
        (("canary", known["active"], "--percent", "5"), 1, "is active"),
        (("canary",), 2, "name a version"),
        (("mirror", "v2", "--percent", "0"), 2, "not in the range"),
        (("list", "--registry", "/nonexistent"), 3, "no registry"),
        (("activate", "x", "--registry", "/nonexistent"), 3, "no registry"),
        (("add", str(ROOT / "docs")), 1, "config.json"),
    ):
        done = models.run(*arguments)
        assert (done.exit_code, said in done.stderr) == (code, True), (arguments, done.stderr)
    assert len(activations(product)) == before
    assert models.did("list") == known


def test_a_version_whose_files_were_altered_never_answers(product):
    models = Models(product)
    registry = product.folder / "registry"
    version = next(one["id"] for one in models.did("list")["versions"] if one["name"] == "v3")
    weights = next((registry / "versions" / version).glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.unlink()
    weights.write_bytes(data)
    eventually(lambda: not next(o for o in models.did("list")["versions"] if o["name"] == "v3")["serving"], 45)
    done = models.run("activate", "v3", "--wait", "4")
    assert done.exit_code == 4, done.stderr
    assert "does not answer so yet" in done.stderr
    assert ask(product), "the version before goes on"
    assert "is not what was registered" in (product.folder / "inference.log").read_text()
    models.did("rollback")
