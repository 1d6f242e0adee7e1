"""Every setting of Attest, read once at start from the environment, checked, frozen.

`load()` names every wrong setting at once. docs/configuration.md describes each; a test compares. Longer than other
files on purpose: one list, in which a setting is found and its neighbours are seen.
"""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AnyHttpUrl, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.addresses import with_driver, wrong_about_database, wrong_about_redis

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Environment(StrEnum):
    """Where this copy runs: production refuses what only development may do."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class WhenLimiterFails(StrEnum):
    """What admission does while Redis is gone."""

    CLOSED = "closed"
    OPEN = "open"


class ScimSubject(StrEnum):
    """Which attribute of a SCIM user says who it is at sign-in."""

    EXTERNAL_ID = "externalId"
    USER_NAME = "userName"


class ScimGroup(StrEnum):
    """Which attribute of a SCIM group names it as the provider's tokens do."""

    DISPLAY_NAME = "displayName"
    EXTERNAL_ID = "externalId"


class SettingsError(Exception):
    """Settings that cannot be used; the message names each one."""


class Settings(BaseSettings):
    """One object chooses between the embedded default and production parts."""

    model_config = SettingsConfigDict(
        env_prefix="ATTEST_", env_file=None, frozen=True, use_attribute_docstrings=True, extra="ignore"
    )

    env: Environment = Environment.DEVELOPMENT
    """`production` refuses the development provider, plain-http cookies and generated client secrets."""
    host: str = "127.0.0.1"
    """Address that the gateway listens on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """Port that the gateway listens on."""
    public_url: AnyHttpUrl | None = None
    """Address that browsers use, when a proxy stands before the gateway; default `http://HOST:PORT`."""
    data_dir: Path = Path("./data")
    """Folder for the embedded database, keys (mode 0600) and logs."""
    database_url: SecretStr = SecretStr("")
    """`postgresql://…` (or `postgresql+asyncpg://…`) or `sqlite+aiosqlite:///…`; default: SQLite in the data folder."""
    redis_url: SecretStr = SecretStr("")
    """Redis or Valkey for limits shared by several gateways; default: limits in this process."""
    redis_failure: WhenLimiterFails = WhenLimiterFails.CLOSED
    """While Redis is gone: `closed` refuses turns with 503, `open` admits them and says so in log and metric."""
    inference_url: AnyHttpUrl | None = None
    """Any OpenAI-compatible server (ends in `/v1`); default: the inference tier that `attest up` starts."""
    inference_api_key: SecretStr = SecretStr("")
    """Bearer key that the inference server wants."""
    inference_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """Longest silence of the inference server before the turn is aborted, in seconds."""
    model_dir: Path | None = None
    """ChatGLM3 checkpoint folder that `attest inference` serves; default: the demo checkpoint that ships."""
    model_registry: Path | None = None
    """Registry of versions that `attest inference` follows instead of one folder, and that `attest models` changes."""
    model: str = ""
    """Model that the chat page asks for; default: the first that the inference server names."""
    policy: Path | None = None
    """Policy file, until a version is activated in the console; default: the policy that ships."""
    policy_check_s: Annotated[float, Field(ge=0.1, le=20)] = 5.0
    """How often a gateway looks which version of the policy is in force, in seconds."""
    master_key: SecretStr = SecretStr("")
    """The 32-byte key (base64) itself, where a secret store puts it into the environment; default: the file."""
    master_key_file: Path | None = None
    """File with the 32-byte key (base64) that wraps content keys; default: made in the data folder."""
    vault_url: AnyHttpUrl | None = None
    """Vault or OpenBao, whose transit engine keeps the master key sealed: its file then holds only what that sealed;
    default: none."""
    vault_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*/[A-Za-z0-9_-]+$")] = "transit/attest"
    """Mount and name of the transit key."""
    vault_token_file: Path | None = None
    """File with the token for Vault, read at each start; an agent may renew it there."""
    vault_namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9_/-]*$")] = ""
    """Namespace in Vault."""
    vault_ca_file: Path | None = None
    """CA certificates for Vault, when it uses a company CA."""

    audit_origin: str = ""
    """Name of this log in its checkpoints, the same for every gateway of one database, a name under your domain for
    instance; default: `attest/` and a random id, made in the signing folder."""
    signing_key: SecretStr = SecretStr("")
    """Key that signs checkpoints (`PRIVATE+KEY+…`); default: made in the signing folder."""
    signing_dir: Path | None = None
    """Folder of the keys that sign checkpoints; default: `signing` in the data folder."""
    checkpoint_interval_s: Annotated[float, Field(ge=0.05, le=3600)] = 1.0
    """Longest wait of a record for its place in the signed tree, in seconds; 1,000 waiting ones do not wait."""

    elasticsearch_url: str = ""
    """Elasticsearch that records are delivered to (several addresses with commas); default: none, the database alone
    answers searches."""
    elasticsearch_ca_file: Path | None = None
    """CA certificates for Elasticsearch and Kibana, when they use a company CA."""
    elasticsearch_writer: SecretStr = SecretStr("")
    """Identity that delivers, role `attest_writer`: `user:password`, `apikey:KEY`, or `file:PATH` of a file with one
    of these."""
    elasticsearch_reader: SecretStr = SecretStr("")
    """Identity that searches for compliance officers, role `attest_compliance`; written as the writer's."""
    elasticsearch_verifier: SecretStr = SecretStr("")
    """Identity of `attest audit verify --elasticsearch`, role `attest_verifier`; written as the writer's."""
    elasticsearch_eraser: SecretStr = SecretStr("")
    """Identity that deletes the texts of erased people, role `attest_eraser`; written as the writer's."""
    elasticsearch_bootstrap: SecretStr = SecretStr("")
    """Identity of `attest audit bootstrap`, role `attest_bootstrap` or an administrator; written as the writer's."""
    elasticsearch_retention: SecretStr = SecretStr("")
    """Identity that drops old months where Elasticsearch has no lifecycle policies, role `attest_retention`; written as
    the writer's. Default: none, and such months stay."""
    elasticsearch_keep_days: Annotated[int, Field(ge=215, le=36_500)] = 215
    """How long after its end a month stays in Elasticsearch, in days."""
    kibana_url: AnyHttpUrl | None = None
    """Kibana that `attest audit bootstrap` puts data views, searches and dashboards into."""

    audit_retention_days: Annotated[int, Field(ge=180, le=36_500)] = 180
    """How long records keep their content, in days; `attest audit retention run` empties what is older."""
    audit_retention_every_hours: Annotated[int, Field(ge=0, le=744)] = 0
    """How often the gateway itself empties what is older; 0: only `attest audit retention run` does."""
    audit_four_eyes: str = ""
    """What a second officer must approve, with commas: `content`, `erase`, `hold_release`; default: nothing."""
    audit_approval_hours: Annotated[int, Field(ge=1, le=720)] = 72
    """How long a request waits for a second officer, in hours."""
    review_second_percent: Annotated[int, Field(ge=0, le=100)] = 10
    """Share of the turns in the review queue that two reviewers label in any case, in percent."""
    erasure_ledger: Path | None = None
    """File that remembers erasures when a database is restored; default: `erasures.ledger` in the data folder."""
    anchor_interval_minutes: Annotated[float, Field(ge=0.01, le=10_080)] = 60.0
    """How often the newest checkpoint is copied to the places outside, in minutes."""
    anchor_folder: Path | None = None
    """Folder on another mount that gets each checkpoint as a file; it must be there."""
    anchor_s3_bucket: str = ""
    """Bucket with object lock that gets each checkpoint as an object."""
    anchor_s3_url: AnyHttpUrl | None = None
    """Address of the S3-compatible store; default: Amazon's of the region."""
    anchor_s3_region: str = "us-east-1"
    """Region of the bucket."""
    anchor_s3_key: SecretStr = SecretStr("")
    """`ACCESS:SECRET` of an identity that may put and get objects there; default: what the AWS environment gives."""
    anchor_s3_lock_days: Annotated[int, Field(ge=1, le=36_500)] = 3650
    """How long the store may not let go of a checkpoint, in days."""
    anchor_webhook_url: AnyHttpUrl | None = None
    """Address that each checkpoint is sent to by POST."""
    anchor_ca_file: Path | None = None
    """CA certificates for the store and the webhook, when they use a company CA."""

    oidc_issuer: AnyHttpUrl | None = None
    """Issuer of the company's OpenID provider; default (development only): the provider that ships."""
    oidc_client_id: str = "attest"
    """Client id of Attest at the provider."""
    oidc_client_secret: SecretStr = SecretStr("")
    """Client secret; empty for a public client (PKCE alone)."""
    oidc_scopes: str = "openid profile email"
    """Scopes asked for at sign-in."""
    oidc_audience: str = ""
    """Audience that bearer tokens on the API must carry; default: the client id."""
    oidc_groups_claim: str = "groups"
    """Claim with the person's groups; a dotted path reaches into objects (`realm_access.roles`)."""
    oidc_roles: Annotated[dict[str, str], NoDecode] = Field(
        default={"staff": "staff", "compliance": "compliance", "security": "security", "admin": "admin"}
    )
    """Group → role, as `group=role,group=role`; roles are staff, compliance, security, admin."""
    oidc_ca_file: Path | None = None
    """CA certificates for the provider, when it uses a company CA."""

    oidc_subject_claim: str = "sub"
    """Claim that says who a person is, in id and access tokens: where SCIM knows people by another id than `sub` (Entra
    ID: `oid`). Changing it later makes everyone somebody else."""
    scim_subject: ScimSubject = ScimSubject.EXTERNAL_ID
    """What of a SCIM user equals that claim: `externalId` or `userName` (neither its case nor the form of its
    accents counts)."""
    scim_group: ScimGroup = ScimGroup.DISPLAY_NAME
    """What of a SCIM group equals its name in the groups claim: `displayName` or `externalId`."""
    scim_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 1500
    """Requests a minute that one provisioning client may make; so many may come at once after a rest."""
    oidc_introspect: bool = True
    """Ask the provider about bearer tokens, where it offers introspection and a client secret is set."""
    access_check_s: Annotated[int, Field(ge=2, le=3600)] = 60
    """Longest time for which a session, token or open stream goes on after the provider ended it, in seconds."""

    session_idle_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    """A session unused for this long ends."""
    session_lifetime_hours: Annotated[int, Field(ge=1, le=168)] = 12
    """A session ends after this long in any case."""
    trusted_proxies: str = ""
    """Addresses of proxies whose `X-Forwarded-For` and `-Proto` are believed, with commas; default: none."""
    rate_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Turns a minute that one subject may start (token bucket, refilled evenly)."""
    rate_burst: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Size of the bucket: turns that may be started at once after a rest."""
    budgets: Path | None = None
    """File (YAML) with budgets of tokens and turns for people and groups; default: no budgets."""
    concurrent_turns: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Turns that run at the same time in one gateway."""
    queued_turns: Annotated[int, Field(ge=0, le=10_000)] = 128
    """Turns that wait for a place; one more is answered 503."""
    queue_wait_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    """Longest wait for a place, in seconds."""
    body_limit_bytes: Annotated[int, Field(ge=1024, le=64 * 2**20)] = 1_000_000
    """Largest request body."""
    message_limit_chars: Annotated[int, Field(ge=1, le=1_000_000)] = 32_000
    """Longest new message of a turn, in characters."""
    history_limit_messages: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Most messages in one request."""
    context_limit_chars: Annotated[int, Field(ge=1, le=4_000_000)] = 100_000
    """Most characters of all messages of one request together."""
    answer_limit_chars: Annotated[int, Field(ge=1000, le=4_000_000)] = 200_000
    """An answer is cut here, whatever the model goes on saying."""
    turn_timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    """A turn that runs longer is aborted, in seconds; also the longest that a stalled reader may hold its place."""
    guard_timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Longest time that one guard may take for one text."""
    classifier_threads: Annotated[int, Field(ge=0, le=64)] = 0
    """Batches of the classifier that run side by side, one thread each; 0 is one for each core, four at most."""
    log_level: Annotated[str, Field(pattern="(?i)^(DEBUG|INFO|WARNING|ERROR|CRITICAL)$")] = "INFO"
    """`DEBUG | INFO | WARNING | ERROR`; no level logs content."""

    @model_validator(mode="before")
    @classmethod
    def _split_roles(cls, values: dict[str, object]) -> dict[str, object]:
        raw = values.get("oidc_roles")
        if isinstance(raw, str):
            pairs = [pair.split("=", 1) for pair in raw.split(",") if pair.strip()]
            if any(len(pair) != 2 for pair in pairs):  # noqa: PLR2004 - a pair
                raise ValueError("ATTEST_OIDC_ROLES must read group=role,group=role")
            values["oidc_roles"] = {group.strip(): role.strip() for group, role in pairs}
        return values

    @model_validator(mode="after")
    def _together(self) -> Self:
        wrong = [f"{role!r} in ATTEST_OIDC_ROLES is no role" for role in self.oidc_roles.values() if role not in ROLES]
        if self.env is Environment.PRODUCTION and self.oidc_issuer is None:
            wrong.append("ATTEST_OIDC_ISSUER must be set in production")
        if self.oidc_issuer is None and self.host not in LOOPBACK:
            wrong.append("ATTEST_OIDC_ISSUER must be set unless ATTEST_HOST is a loopback address")
        if self.env is Environment.PRODUCTION and self.base_url.startswith("http://"):
            wrong.append("ATTEST_PUBLIC_URL must be https in production")
        wrong += _wrong_about_vault(self)
        addresses = (
            wrong_about_database(self.database_url.get_secret_value()),
            wrong_about_redis(self.redis_url.get_secret_value()),
        )
        wrong += [said for said in addresses if said]
        wrong += [f"{name!r} in ATTEST_AUDIT_FOUR_EYES is no action" for name in self.four_eyes - FOUR_EYES]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def four_eyes(self) -> frozenset[str]:
        """What a second officer must approve."""
        return frozenset(name.strip() for name in self.audit_four_eyes.split(",") if name.strip())

    @property
    def erasure_ledger_path(self) -> Path:
        """File of the erasure ledger."""
        return self.erasure_ledger or self.data_dir / "erasures.ledger"

    @property
    def base_url(self) -> str:
        """Address that browsers use, without a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return str(self.public_url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def cores_for_classifier(self) -> int:
        """Threads that the classifier gets, at least one."""
        return self.classifier_threads or min(4, os.cpu_count() or 1)

    @property
    def master_key_path(self) -> Path:
        """File of the key that wraps content keys."""
        return self.master_key_file or self.data_dir / "master.key"

    @property
    def signing_path(self) -> Path:
        """Folder of the keys that sign checkpoints."""
        return self.signing_dir or self.data_dir / "signing"

    @property
    def uses_development_provider(self) -> bool:
        """Whether the provider that ships is the identity provider."""
        return self.oidc_issuer is None

    @property
    def issuer(self) -> str:
        """Issuer of id and access tokens, exactly as they carry it."""
        return str(self.oidc_issuer).rstrip("/") if self.oidc_issuer else f"{self.base_url}/dev-provider"

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the database."""
        return (
            with_driver(self.database_url.get_secret_value())
            or f"sqlite+aiosqlite:///{self.data_dir.resolve()}/attest.db"
        )

    @property
    def inference(self) -> str:
        """Base of the OpenAI-compatible inference server, without a slash at its end."""
        return str(self.inference_url or f"http://127.0.0.1:{self.port + 1}/v1").rstrip("/")


FOUR_EYES = frozenset({"content", "erase", "hold_release"})
ROLES = ("staff", "compliance", "security", "admin")


def _wrong_about_vault(settings: Settings) -> list[str]:
    if settings.vault_url is None:
        return []
    wrong = []
    if settings.vault_token_file is None:
        wrong.append("ATTEST_VAULT_TOKEN_FILE must be set with ATTEST_VAULT_URL")
    if settings.vault_url.scheme != "https" and settings.vault_url.host not in LOOPBACK:
        wrong.append("ATTEST_VAULT_URL must be https unless it is a loopback address")
    if settings.master_key.get_secret_value():
        wrong.append("ATTEST_MASTER_KEY and ATTEST_VAULT_URL exclude each other")
    return wrong


def load(**overrides: object) -> Settings:
    """Read and check the settings; raise `SettingsError` that names every wrong one at once."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [_describe(problem["loc"], problem["msg"]) for problem in error.errors(include_input=False)]
        raise SettingsError("Attest cannot start with these settings:\n" + "\n".join(lines)) from None


def _describe(where: tuple[int | str, ...], message: str) -> str:
    name = "ATTEST_" + str(where[0]).upper() if where else ""
    return f"  {name}: {message}" if name else f"  {message}"
