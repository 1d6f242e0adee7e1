"""The production set as far as it can be checked without an engine."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import Settings
from gateway.telemetry import Telemetry

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NAMES = sorted(SERVICES)
WRITES_AT_START = {"elasticsearch", "kibana", "keycloak"}
NOT_SETTINGS = {
    "ATTEST_DOMAIN": "compose.yaml and the proxy's template",
    "ATTEST_MODEL_FOLDER": "compose.yaml",
}
KNOWN_KEYS = {
    *("image", "build", "user", "environment", "sysctls", "ports", "secrets", "volumes", "tmpfs", "networks", "init"),
    *("depends_on", "healthcheck", "deploy", "restart", "read_only", "cap_drop", "security_opt", "logging", "command"),
    *("entrypoint", "ulimits", "shm_size", "stop_grace_period"),
}


def settings() -> set[str]:
    return {f"ATTEST_{name.upper()}" for name in Settings.model_fields}


def networks(service: str) -> set[str]:
    return set(SERVICES[service]["networks"])


@pytest.mark.parametrize("name", NAMES)
def test_a_service_has_only_keys_of_the_compose_specification(name: str) -> None:
    assert set(SERVICES[name]) <= KNOWN_KEYS


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_pinned_to_a_full_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$", image), image
    assert "latest" not in image


@pytest.mark.parametrize("name", NAMES)
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    uid = service["user"].split(":")[0]
    assert uid.isdigit()
    assert int(uid) > 0
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is (name not in WRITES_AT_START)
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", ()))


@pytest.mark.parametrize("name", NAMES)
def test_a_service_is_bounded_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    health = service["healthcheck"]
    if service["restart"] == "no":
        assert health == {"disable": True}
    else:
        assert health["test"][0] in {"CMD", "CMD-SHELL"}
        assert {"interval", "timeout", "retries"} <= set(health)


def test_everything_that_is_named_exists() -> None:
    for service in SERVICES.values():
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
        for other, wanted in service.get("depends_on", {}).items():
            assert other in SERVICES
            if wanted["condition"] == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"]
        for volume in service.get("volumes", ()):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_file(), source
            elif not source.startswith("$"):
                assert source in COMPOSE["volumes"]
        if build := service.get("build"):
            assert (ROOT / build["dockerfile"]).is_file()


def test_nothing_is_declared_in_vain() -> None:
    used_secrets = {name for service in SERVICES.values() for name in service.get("secrets", ())}
    assert used_secrets == set(COMPOSE["secrets"])
    assert {name for service in NAMES for name in networks(service)} == set(COMPOSE["networks"])


def test_only_the_gateway_reaches_inference_and_only_the_proxy_is_outside() -> None:
    assert {name for name in NAMES if "model" in networks(name)} == {"gateway", "inference"}
    assert networks("inference") == {"model"}
    assert {name for name in NAMES if "edge" in networks(name)} == {"proxy"}
    assert {name for name in NAMES if SERVICES[name].get("ports")} == {"proxy"}
    for name in ("app", "data", "model"):
        assert COMPOSE["networks"][name]["internal"] is True
    for name in ("postgres", "valkey", "elasticsearch"):
        assert networks(name) == {"data"}


@pytest.mark.parametrize(
    "path",
    ["compose.yaml", "deploy/env.example", *(str(p.relative_to(ROOT)) for p in ROOT.glob("deploy/*.Dockerfile"))],
)
def test_every_setting_that_is_named_exists(path: str) -> None:
    named = set(re.findall(r"\bATTEST_[A-Z][A-Z0-9_]*[A-Z0-9]\b", (ROOT / path).read_text()))
    assert named - settings() - set(NOT_SETTINGS) == set()


def test_secrets_become_settings_that_exist() -> None:
    handed = {name.upper() for name in SERVICES["gateway"]["secrets"] if name.startswith("attest_")}
    assert handed
    assert handed <= settings()


def test_the_gateways_environment_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICES["gateway"]["environment"].items():
        monkeypatch.setenv(name, value.replace("${ATTEST_DOMAIN}", "example.com"))
    chosen = Settings()
    assert chosen.env.value == "production"
    assert chosen.base_url == "https://chat.example.com"
    assert chosen.trusted_proxies == SERVICES["proxy"]["networks"]["app"]["ipv4_address"]


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/metrics//x"])
def test_the_proxy_keeps_figures_from_outsiders(path: str) -> None:
    template = (ROOT / "deploy/proxy/attest.conf.template").read_text()
    (kept_back,) = re.findall(r"location ~ (\S+) \{ return 404; \}", template)
    assert re.search(kept_back, path)
    assert not re.search(kept_back, "/metricsx")


def test_no_secret_stands_in_the_file() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|KEY|TOKEN", name):
                assert str(value).startswith("/run/secrets/"), name


def test_bootstraps_environment_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICES["elasticsearch-bootstrap"]["environment"].items():
        monkeypatch.setenv(name, value)
    assert Settings().elasticsearch_url == SERVICES["gateway"]["environment"]["ATTEST_ELASTICSEARCH_URL"]


def test_the_gateway_cannot_do_what_bootstrap_may() -> None:
    secrets = set(SERVICES["gateway"]["secrets"])
    assert not secrets & {"attest_elasticsearch_bootstrap", "elastic_password"}
    assert {"attest_elasticsearch_writer", "attest_elasticsearch_reader"} <= secrets


def test_the_gateways_identities_are_made_with_their_roles(tmp_path: Path) -> None:
    """Runs the script with a `curl` that only notes what it is called with."""
    secrets, made = tmp_path / "secrets", tmp_path / "made"
    secrets.mkdir()
    for name in SERVICES["elasticsearch-setup"]["secrets"]:
        job = name.rpartition("_")[2]
        (secrets / name).write_text(f"attest_{job}:pass:{job}" if name.startswith("attest_") else f"word-{name}")
    curl = tmp_path / "curl"
    curl.write_text(f'#!/bin/sh\nprintf "%s " "$*" >> {made}\ncat >> {made}\necho >> {made}\n')
    curl.chmod(0o755)
    (script,) = SERVICES["elasticsearch-setup"]["command"]
    script = script.replace("$$", "$").replace("/run/secrets", str(secrets))
    path = f"{tmp_path}:/usr/bin:/bin"
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True, env={"PATH": path})
    lines = made.read_text().splitlines()
    assert [line.split("/_security/user/")[1] for line in lines] == [
        'kibana_system/_password {"password":"word-kibana_password"}',
        'attest_writer {"password":"pass:writer","roles":["attest_writer"]}',
        'attest_reader {"password":"pass:reader","roles":["attest_compliance"]}',
        'attest_verifier {"password":"pass:verifier","roles":["attest_verifier"]}',
        'attest_eraser {"password":"pass:eraser","roles":["attest_eraser"]}',
    ]


def test_provider_and_gateway_agree() -> None:
    gateway = SERVICES["gateway"]["environment"]
    realm = json.loads((ROOT / "deploy/keycloak/attest-realm.json").read_text())
    host = SERVICES["keycloak"]["environment"]["KC_HOSTNAME"]
    assert gateway["ATTEST_OIDC_ISSUER"] == f"{host}/realms/{realm['realm']}"
    assert gateway["ATTEST_OIDC_CLIENT_ID"] in {client["clientId"] for client in realm["clients"]}
    aliases = SERVICES["proxy"]["networks"]["app"]["aliases"]
    assert host.removeprefix("https://") in aliases
    wanted = set(re.findall(r"\$\{(ATTEST_\w+)\}", (ROOT / "deploy/keycloak/attest-realm.json").read_text()))
    given = set(SERVICES["keycloak"]["environment"]) | {name.upper() for name in SERVICES["keycloak"]["secrets"]}
    assert wanted <= given


def test_every_metric_in_the_alert_rules_exists() -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    expressions = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    named = set(re.findall(r"\b(?:attest|gen_ai)_[a-z_]+", re.sub(r"\{[^}]*\}", "", expressions)))
    families = {family.name: family.type for family in Telemetry({}).metrics.registry.collect()}
    endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
    known = {name + ending for name, kind in families.items() for ending in endings.get(kind, ("",))}
    assert named
    assert named <= known


def test_operations_documents_every_metric() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    for family in Telemetry({}).metrics.registry.collect():
        if family.name.startswith(("attest_", "gen_ai_")):
            name = family.name + ("_total" if family.type == "counter" else "")
            assert f"`{name}`" in text, name
