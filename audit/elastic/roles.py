"""The identities that speak to Elasticsearch and what each may do: data, for the server's API and its role file alike.

Nothing here needs more than a basic licence: what different people may read is split by index, not by field.
"""

import json
from collections.abc import Mapping
from typing import Any

from audit.elastic.families import AUDIT, CONTENT, DELIVERY

BOOTSTRAP = "attest_bootstrap"
WRITER = "attest_writer"
VERIFIER = "attest_verifier"
COMPLIANCE = "attest_compliance"
SECURITY = "attest_security"
ERASER = "attest_eraser"
RETENTION = "attest_retention"

_ALL = (AUDIT.pattern, CONTENT.pattern, DELIVERY.pattern)
_KIBANA = "kibana-.kibana"


def _may(privileges: tuple[str, ...], *patterns: str) -> dict[str, Any]:
    return {"names": list(patterns), "privileges": list(privileges), "allow_restricted_indices": False}


def _role(*indices: dict[str, Any], cluster: tuple[str, ...] = (), kibana: tuple[str, ...] = ()) -> dict[str, Any]:
    applications = [{"application": _KIBANA, "privileges": list(kibana), "resources": ["*"]}] if kibana else []
    return {"cluster": list(cluster), "indices": list(indices), "applications": applications}


ROLES: Mapping[str, dict[str, Any]] = {
    # Makes templates, indices, roles, the lifecycle policy and Kibana's objects; reads and writes no document.
    BOOTSTRAP: _role(
        _may(("create_index", "view_index_metadata", "indices:admin/mapping/put*"), *_ALL),
        cluster=("monitor", "manage_index_templates", "manage_ilm", "manage_security"),
        kibana=("feature_savedObjectsManagement.all", "feature_indexPatterns.all"),
    ),
    # The gateway: adds documents to indices that are there, and nothing else. Two actions instead of the privilege
    # `create_doc`, with which the server would also let it change mappings.
    WRITER: _role(_may(("indices:data/write/bulk*", "indices:data/write/index:op_type/create"), *_ALL)),
    # `attest audit verify --elasticsearch`.
    VERIFIER: _role(_may(("read", "view_index_metadata"), AUDIT.pattern, CONTENT.pattern)),
    # Compliance officers, and the gateway when it searches for them.
    COMPLIANCE: _role(_may(("read", "view_index_metadata"), *_ALL), kibana=("read",)),
    # Security reviewers: everything but texts.
    SECURITY: _role(
        _may(("read", "view_index_metadata"), AUDIT.pattern, DELIVERY.pattern),
        kibana=("read",),
    ),
    # Erasure of a person: finds and deletes that person's texts.
    ERASER: _role(_may(("read", "delete", "maintenance", "view_index_metadata"), CONTENT.pattern)),
    # Retention where the server has no lifecycle policies: drops whole months.
    RETENTION: _role(_may(("delete_index", "view_index_metadata"), *_ALL)),
}
"""Role name → descriptor, as `PUT _security/role/NAME` takes it and `roles.yml` holds it."""


def roles_file() -> str:
    """Return the roles as `roles.yml` holds them, for servers whose roles are files: one a line (JSON is YAML)."""
    return "".join(f"{name}: {json.dumps(role)}\n" for name, role in ROLES.items())
