"""The composition root: every component of the gateway, in the order in which it starts."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from audit.log import SqlAuditLog
from audit.search.names import PersonNames
from audit.sequencer import Sequencer, SequencerLimits
from audit.signing import SigningKeys
from gateway import VERSION
from gateway.auth.access import PUBLIC
from gateway.auth.authentication import Authentication
from gateway.bulk import Bulk
from gateway.console.compose import console_parts
from gateway.console.names import Names
from gateway.console.sections import SECTIONS, console_routes
from gateway.database import make_engine
from gateway.delivery import GATEWAY_LIMITS, make_delivery
from gateway.ending.people import People
from gateway.governance import make_governance
from gateway.history.store import HistoryStore
from gateway.http.approvals import approval_routes
from gateway.http.audit import audit_routes
from gateway.http.audit_export import audit_export_routes
from gateway.http.body_limit import BodyLimit
from gateway.http.chat import chat_routes
from gateway.http.chat_turns import chat_turn_routes
from gateway.http.docs import PlainDocs
from gateway.http.errors import on_any_exception, on_attest_error, on_http_exception, on_invalid_utf8, on_recursion
from gateway.http.health import Readiness, health_routes
from gateway.http.moderations import moderation_routes
from gateway.http.openai import ChatParts, openai_routes
from gateway.http.plain_address import PlainAddress
from gateway.http.usage import usage_routes
from gateway.inquiry.compose import make_inquiry
from gateway.judge import make_judge
from gateway.keys.registry import ApiKeys
from gateway.limits.admission import Admission
from gateway.logging import RequestLog
from gateway.master_key import load_master_key
from gateway.measured import MeasuredModel
from gateway.mirroring import Mirroring
from gateway.model_activation import ModelActivations
from gateway.models import ModelCatalogue, ModelRoutes
from gateway.policies.compose import make_policies
from gateway.policies.in_force import PolicyInForce
from gateway.problems import AttestError
from gateway.scim.compose import make_provisioning
from gateway.scim.routes import scim_router
from gateway.settings import Settings
from gateway.starting import telling_why
from gateway.telemetry import Telemetry
from gateway.turn import TurnService
from gateway.usage.allowance import Allowances
from gateway.usage.report import UsageReport
from gateway.web.assets import favicon, static_file
from gateway.web.headers import SecurityHeaders
from gateway.web.pages import make_pages
from inference.openai_compat import Bounds, OpenAICompatModel
from migrations.run import upgrade

SWEEP_S = 60.0
"""How often turns of gateways that died are looked for; they are closed at the second look."""


def create_app(settings: Settings) -> Litestar:  # noqa: PLR0915 - one list, in order
    """Compose the gateway. Nothing is opened before the application starts, except that rules and model are checked."""
    telemetry = Telemetry()
    engine = make_engine(settings.database)
    signing_keys = SigningKeys(settings.signing_path, settings.audit_origin, settings.signing_key.get_secret_value())
    signing_keys.load_or_create()
    sequencer = Sequencer(
        engine,
        signing_keys,
        SequencerLimits(cadence_s=settings.checkpoint_interval_s),
        on_fault=telemetry.sequencer_failed,
    )
    master_key = load_master_key(settings, create=True)
    audit = SqlAuditLog(engine, master_key, on_durable=sequencer.appended)
    delivery = make_delivery(settings, engine, master_key, telemetry, GATEWAY_LIMITS)
    governance = make_governance(settings, engine, lambda error: telemetry.fault("keeping", error))
    authentication = Authentication.from_settings(settings, engine, audit, master_key)
    inquiry = make_inquiry(
        settings, engine, master_key, audit, signing_keys, governance, authentication.watch, sequencer
    )
    admission = Admission.from_settings(settings, on_limiter_failure=telemetry.limiter_failed)
    allowances = Allowances.from_settings(settings, engine)
    provisioning = make_provisioning(settings, governance.governor, authentication.endings, telemetry.limiter_failed)
    endpoint = OpenAICompatModel(
        settings.inference,
        api_key=settings.inference_api_key.get_secret_value(),
        bounds=Bounds(silence_s=settings.inference_timeout_s, total_s=settings.turn_timeout_s),
    )
    model = MeasuredModel(endpoint, telemetry)
    catalogue = ModelCatalogue(model, settings.model)
    judge_for = make_judge(model, catalogue)
    policies = make_policies(settings, engine, master_key, audit, governance, telemetry, inquiry.desk, judge_for)
    turns = _turns(
        settings, policies.in_force, model, catalogue, audit, admission, authentication, allowances, telemetry
    )
    pages = make_pages(settings, policies.in_force.rule_title, sections=SECTIONS, names=Names(PersonNames(engine)))
    history = HistoryStore(engine)
    readiness = Readiness(
        {
            "audit log": audit.ready,
            "audit proof": sequencer.healthy,
            "inference": catalogue.refresh,
            "limits": admission.ready,
            "policy": policies.in_force.ready,
            "safety": policies.in_force.safety_ready,
            "sign-in": authentication.ready,
        }
    )
    _watch(telemetry, admission, sequencer)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None, None]:
        """Start in this order; end in the opposite one, running turns first, so that each gets its closing record."""
        async with AsyncExitStack() as stack:
            with telling_why():
                stack.push_async_callback(telemetry.aclose)
                stack.push_async_callback(engine.dispose)
                await asyncio.to_thread(upgrade, settings.database)
                stack.push_async_callback(sequencer.close)
                stack.push_async_callback(audit.close)
                await _open(audit)
                await stack.enter_async_context(policies.at_work())
                await sequencer.start()
                await stack.enter_async_context(governance.at_work())
                await stack.enter_async_context(inquiry.at_work(lambda error: telemetry.fault("review", error)))
                if delivery is not None:
                    stack.push_async_callback(delivery.close)
                    stack.push_async_callback(_ended, asyncio.create_task(delivery.run()))
                stack.push_async_callback(authentication.close)
                await authentication.start()
                stack.push_async_callback(admission.aclose)
                stack.push_async_callback(provisioning.rates.aclose)
                stack.push_async_callback(endpoint.close)
                stack.push_async_callback(turns.close)
                stack.push_async_callback(_ended, asyncio.create_task(_sweep(audit, telemetry)))
            yield

    parts = {
        "chat": ChatParts(turns, catalogue, settings),
        "turns": turns,
        "questions": Bulk(1, settings.queue_wait_s),
        "allowances": allowances,
        "usage": UsageReport(engine),
        "people": People(engine, PersonNames(engine)),
        "endings": authentication.endings,
        "keys": ApiKeys(governance.governor),
        **provisioning.parts(),
        "catalogue": catalogue,
        "history": history,
        "audit": audit,
        "desk": inquiry.desk,
        "exports": inquiry.exports,
        "consent": inquiry.consent,
        "reviews": inquiry.reviews,
        "proofs": inquiry.proofs,
        "replays": inquiry.replays,
        "policies": policies.desk,
        **console_parts(settings, engine, master_key, audit, governance, signing_keys),
        "settings": settings,
        "pages": pages,
        "assets": pages.assets,
        "telemetry": telemetry,
        "readiness": readiness,
    }
    return Litestar(
        route_handlers=[
            *health_routes,
            *authentication.routes,
            *openai_routes,
            *moderation_routes,
            *chat_routes,
            *chat_turn_routes,
            *usage_routes,
            *audit_routes,
            *audit_export_routes,
            *approval_routes,
            *console_routes,
            scim_router,
            static_file,
            favicon,
        ],
        middleware=[
            RequestLog(telemetry),
            inquiry.refusals,
            authentication.middleware,
            PlainAddress(),
            BodyLimit(settings.body_limit_bytes),
        ],
        # A hook and not a middleware: it also sees what is answered before or instead of a route.
        before_send=[SecurityHeaders(settings).add],
        dependencies={name: Provide(_giver(part), sync_to_thread=False) for name, part in parts.items()},
        exception_handlers={
            AttestError: on_attest_error,
            HTTPException: on_http_exception,
            UnicodeDecodeError: on_invalid_utf8,
            RecursionError: on_recursion,
            Exception: on_any_exception,
        },
        lifespan=[lifespan],
        state=State({"pages": pages, "telemetry": telemetry}),
        request_max_body_size=settings.body_limit_bytes,
        openapi_config=_openapi(pages.assets.url("css/app.css")),
        logging_config=None,
        debug=False,
    )


def _openapi(stylesheet: str) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Attest",
        version=VERSION,
        description="A governed chat gateway that proves what it did.",
        render_plugins=[PlainDocs(stylesheet), JsonRenderPlugin()],
        openapi_router=Router(path="/docs", route_handlers=[], **PUBLIC),
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
        ),
        security=[{"bearer": []}],
    )


def _turns(
    settings: Settings,
    policy: PolicyInForce,
    model: MeasuredModel,
    catalogue: ModelCatalogue,
    audit: SqlAuditLog,
    admission: Admission,
    authentication: Authentication,
    allowances: Allowances,
    telemetry: Telemetry,
) -> TurnService:
    return TurnService(
        policy=policy,
        model=model,
        audit=audit,
        admission=admission,
        watch=authentication.watch,
        allowances=allowances,
        telemetry=telemetry,
        settings=settings,
        routes=ModelRoutes(catalogue, ModelActivations(audit)),
        mirroring=Mirroring(model, telemetry, settings.answer_limit_chars),
        bulk=Bulk(2, settings.queue_wait_s),
    )


def _watch(telemetry: Telemetry, admission: Admission, sequencer: Sequencer) -> None:
    telemetry.watch(lambda: admission.running, lambda: admission.queued)
    telemetry.watch_sequencer(lambda: sequencer.status)


async def _open(audit: SqlAuditLog) -> None:
    """Open the log, and close what an earlier process left open."""
    await audit.start()
    await audit.recover()


def _giver(part: object) -> Callable[[], object]:
    return lambda: part


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _sweep(audit: SqlAuditLog, telemetry: Telemetry) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            await audit.recover()
        except Exception as error:  # noqa: BLE001 - the next round tries again
            telemetry.fault("sweep", error)
