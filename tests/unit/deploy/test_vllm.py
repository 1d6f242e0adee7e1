"""vLLM's manifests as far as they can be checked without a GPU, and the sizes that its page promises."""

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import GlmConfig

from inference.chatglm3.layout import Shapes, published_shapes
from inference.engine.slots import Memory
from inference.quant.plan import Quantisation, weight_bytes

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/vllm"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVERS = ("one-gpu", "tensor-parallel", "ray")
LEADER = {"apps.kubernetes.io/pod-index": "0"}
"""What the cluster adds to the labels of a StatefulSet's first pod."""
SHAPES = Shapes(vocab=65024, hidden=4096, ffn=13696, layers=28, heads=32, groups=2, head_dim=128)


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / f"kubernetes/{name}.yaml").read_text()))


def pod(name: str) -> dict[str, Any]:
    return next(one for one in documents(name) if one["kind"] in ("Deployment", "StatefulSet"))["spec"]["template"]


def environment(name: str) -> dict[str, str]:
    """What vLLM's container is given, in compose or in a manifest."""
    if name == "compose":
        return dict(COMPOSE["services"]["vllm"]["environment"])
    (container,) = pod(name)["spec"]["containers"]
    return {one["name"]: one.get("value", "") for one in container["env"]}


def options(container: dict[str, Any]) -> str:
    return " ".join(str(part) for part in [*container.get("command", ()), *container["args"]])


def test_in_compose_only_the_tier_reaches_vllm():
    main = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services = COMPOSE["services"]
    assert services["vllm"]["networks"] == ["gpu"]
    assert set(services["inference"]["networks"]) == {"model", "gpu"}
    assert COMPOSE["networks"] == {"gpu": {"internal": True}}
    assert "gpu" not in main["networks"]
    assert not services["vllm"].get("ports")


def test_vllm_in_compose_has_no_more_rights_than_it_needs():
    vllm = COMPOSE["services"]["vllm"]
    assert (vllm["cap_drop"], vllm["read_only"]) == (["ALL"], True)
    assert int(vllm["user"].split(":")[0]) > 0
    assert "no-new-privileges:true" in vllm["security_opt"]
    assert re.fullmatch(r"vllm/vllm-openai:v\d+\.\d+\.\d+", vllm["image"])


def test_vllm_in_compose_may_load_what_it_compiles():
    """A tmpfs is mounted noexec unless it says `exec`; a pod's emptyDir is not."""
    vllm = COMPOSE["services"]["vllm"]
    places = {place: options.split(",") for place, options in (one.split(":", 1) for one in vllm["tmpfs"])}
    assert "exec" in places[vllm["environment"]["HOME"]]


@pytest.mark.parametrize("name", [*SERVERS, "tier"])
def test_a_pod_has_no_more_rights_than_it_needs(name: str):
    spec = pod(name)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in spec["containers"]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert mounts["model"]["readOnly"] is True
        assert set(mounts) == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize("name", [*SERVERS, "tier"])
def test_no_service_gives_a_pod_variables_that_its_program_takes_for_its_own(name: str):
    """A Service named `vllm` is VLLM_PORT=tcp://… in every pod of its namespace, at which vLLM ends."""
    assert pod(name)["spec"]["enableServiceLinks"] is False
    services = [one["metadata"]["name"] for one in documents(name) if one["kind"] == "Service"]
    assert services
    for service in services:
        assert not service.startswith(("vllm", "ray")), "also for whoever brings a pod of their own"


@pytest.mark.parametrize("name", SERVERS)
def test_the_tier_asks_the_service_that_stands_before_vllm(name: str):
    (service,) = [one for one in documents(name) if one["kind"] == "Service" and "clusterIP" not in one["spec"]]
    (port,) = service["spec"]["ports"]
    assert f"--upstream http://{service['metadata']['name']}:{port['port']}/v1" in options(
        pod("tier")["spec"]["containers"][0]
    )
    assert service["spec"]["selector"].items() <= (pod(name)["metadata"]["labels"] | LEADER).items()


def test_the_pods_of_ray_look_for_the_first_under_its_name():
    (workload,) = [one for one in documents("ray") if one["kind"] == "StatefulSet"]
    name, service = workload["metadata"]["name"], workload["spec"]["serviceName"]
    where = f"{name}-0.{service}.{workload['metadata']['namespace']}.svc.cluster.local"
    assert f"leader={where}\n" in options(pod("ray")["spec"]["containers"][0])


@pytest.mark.parametrize("command", [*SERVERS, "compose"])
def test_vllm_is_started_as_the_tier_expects_it(command: str):
    if command == "compose":
        said = " ".join(COMPOSE["services"]["vllm"]["command"])
    else:
        said = options(pod(command)["spec"]["containers"][0])
    for option in ("--served-model-name=model", "--skip-tokenizer-init", "--no-enable-prefix-caching", "--port=8000"):
        assert option in said
    assert "trust-remote-code" not in said


@pytest.mark.parametrize("name", [*SERVERS, "compose"])
def test_the_user_has_a_name(name: str):
    """`getpass.getuser`, which torch calls, looks for these before it asks an image that knows no user 10004."""
    given = environment(name)
    assert given["USER"] == given["LOGNAME"] == "vllm"
    asking = "import getpass, os; os.setuid(10004) if os.getuid() == 0 else None; print(getpass.getuser())"
    done = subprocess.run([sys.executable, "-c", asking], env=given, capture_output=True, text=True, check=False)
    assert done.stdout == "vllm\n", done.stderr


@pytest.mark.parametrize(("name", "gpus", "nodes"), [("one-gpu", 1, 1), ("tensor-parallel", 2, 1), ("ray", 2, 2)])
def test_every_gpu_that_is_asked_for_is_used(name: str, gpus: int, nodes: int):
    (container,) = pod(name)["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == str(gpus)
    assert f"--tensor-parallel-size={gpus}" in options(container)
    if nodes > 1:
        workload = next(one for one in documents(name) if one["kind"] == "StatefulSet")
        assert workload["spec"]["replicas"] == nodes
        assert f"--pipeline-parallel-size={nodes}" in options(container)
        assert workload["spec"]["serviceName"] in {one["metadata"]["name"] for one in documents(name)}


def test_policies_let_the_gateway_to_the_tier_and_the_tier_to_vllm_and_nobody_else():
    policies = {one["metadata"]["name"]: one["spec"] for one in documents("network-policy")}
    allowed = {
        name: {rule_from["podSelector"]["matchLabels"]["app"] for rule in spec["ingress"] for rule_from in rule["from"]}
        for name, spec in policies.items()
    }
    assert allowed == {"attest-inference": {"attest-gateway"}, "vllm": {"attest-inference", "vllm"}}
    for name, spec in policies.items():
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
        assert spec["podSelector"]["matchLabels"]["app"] == name
        assert not any("ipBlock" in to for rule in spec["egress"] for to in rule["to"])
    labels = {pod(name)["metadata"]["labels"]["app"] for name in (*SERVERS, "tier")}
    assert labels == set(policies)


@pytest.mark.parametrize("page", ["vllm.md", "vllm.zh-CN.md"])
def test_the_sizes_are_those_of_the_shapes(page: str):
    """The weights by their shapes, keys and values by the memory that the engine takes for them."""
    shapes = published_shapes(SHAPES)
    count = sum(math.prod(shape) for shape in shapes.values())
    text = (ROOT / "docs" / page).read_text()
    assert f"{count:,} " in text
    config = GlmConfig(num_hidden_layers=SHAPES.layers, num_key_value_heads=SHAPES.groups, head_dim=SHAPES.head_dim)
    token = {dtype: token_bytes(config, dtype) for dtype in (torch.float32, torch.bfloat16)}
    for size in token.values():
        assert f"{size // 1024} KiB" in text
    weights = {"float32": (4 * count, token[torch.float32]), "bfloat16": (2 * count, token[torch.bfloat16])}
    for each in (Quantisation(8), Quantisation(4)):
        weights[each.precision] = (weight_bytes(shapes, each), token[torch.bfloat16])
    for name, (size, each_token) in weights.items():
        sizes = [size, *(size + each_token * length for length in (8192, 32768, 131072, 8 * 8192))]
        row = " | ".join(f"{value / 2**30:.1f}" for value in sizes)
        assert f"| {name} | {row} |" in text


def token_bytes(config: GlmConfig, dtype: torch.dtype) -> int:
    """Bytes of keys and values of one token."""
    memory = Memory(config, 1, dtype, torch.device("meta"))
    return memory.keys.nbytes + memory.values.nbytes
