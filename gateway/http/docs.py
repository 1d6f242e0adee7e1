"""`/docs`: the API described by its own OpenAPI document, as one plain page without scripts or outside hosts."""

import re
from typing import Any

from litestar import Litestar, Request
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.routes import HTTPRoute
from markupsafe import Markup, escape

from gateway.auth.access import ACCESS

METHODS = ("get", "post", "put", "patch", "delete")


Access = dict[tuple[str, str], tuple[str, ...]]


class PlainDocs(OpenAPIRenderPlugin):
    """Renders every operation with its parameters, body, answers and who may call it."""

    def __init__(self, stylesheet: str) -> None:
        super().__init__(path="/")
        self._stylesheet = stylesheet

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page."""
        access = _access(request.app)
        info = openapi_schema["info"]
        operations = [
            self._operation(path, method, item[method], access)
            for path, item in sorted(openapi_schema.get("paths", {}).items())
            for method in METHODS
            if method in item
        ]
        schemas = openapi_schema.get("components", {}).get("schemas", {})
        page = Markup(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="{css}"></head>'
            '<body class="docs"><main><h1>{title} <small>{version}</small></h1>'
            '<p>The same as a document for programs: <a href="/docs/openapi.json">openapi.json</a>.</p>'
            "{operations}<h2>Shapes</h2>{schemas}</main></body></html>"
        ).format(
            title=info["title"],
            version=info["version"],
            css=self._stylesheet,
            operations=Markup("").join(operations),
            schemas=Markup("").join(self._schema(name, schemas[name]) for name in sorted(schemas)),
        )
        return page.encode()

    def _operation(self, path: str, method: str, operation: dict[str, Any], access: Access) -> Markup:
        who = ", ".join(access.get((path, method.upper()), ("public",)))
        parameters = Markup("").join(
            Markup("<li><code>{}</code> ({}) {}</li>").format(item["name"], item["in"], item.get("description", ""))
            for item in operation.get("parameters", [])
        )
        body = operation.get("requestBody", {}).get("content", {})
        answers = Markup("").join(
            Markup("<li>{}: {} {}</li>").format(
                status, answer.get("description", ""), _types(answer.get("content", {}))
            )
            for status, answer in operation.get("responses", {}).items()
        )
        return Markup(
            "<section><h2><code>{} {}</code></h2><p>{}</p><p>Who: {}</p><ul>{}</ul>{}<ul>{}</ul></section>"
        ).format(
            method.upper(),
            path,
            operation.get("description") or operation.get("summary", ""),
            who,
            parameters,
            Markup("<p>Body: {}</p>").format(_types(body)) if body else "",
            answers,
        )

    def _schema(self, name: str, schema: dict[str, Any]) -> Markup:
        required = set(schema.get("required", ()))
        rows = Markup("").join(
            Markup("<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>").format(
                field, _type(described), "required" if field in required else ""
            )
            for field, described in schema.get("properties", {}).items()
        )
        return Markup('<section id="{0}"><h3>{0}</h3><p>{1}</p><table>{2}</table></section>').format(
            name, schema.get("description", ""), rows
        )


def _access(app: Litestar) -> Access:
    return {
        (re.sub(r"\{([^:}]+)(:[^}]*)?\}", r"{\1}", route.path), method): tuple(handler.opt.get(ACCESS, ()))
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
    }


def _types(content: dict[str, Any]) -> Markup:
    return Markup(", ").join(
        Markup("{} {}").format(media, _type(described.get("schema", {}))) for media, described in content.items()
    )


def _type(schema: dict[str, Any]) -> Markup:
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return Markup('<a href="#{0}">{0}</a>').format(name)
    if "items" in schema:
        return Markup("list of {}").format(_type(schema["items"]))
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return Markup(" | ").join(_type(one) for one in schema[several])
    return escape(schema.get("type", "any"))
