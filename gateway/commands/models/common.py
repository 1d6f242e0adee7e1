"""What the commands of `attest models` share: where the registry is, and what the inference tier serves."""

import asyncio
import time
from pathlib import Path

import click

from gateway.model_activation import Offer, offers_of_models
from gateway.settings import Settings
from inference.openai_compat import Bounds, OpenAICompatModel
from inference.ports import InferenceError, ModelInfo

REFUSED = 1
"""Exit code: there is no such version, or what is asked makes no sense now."""
FAILED = 3
"""Exit code: the registry or the audit log cannot be used."""
NOT_YET = 4
"""Exit code: recorded and set, but the inference tier does not answer so yet."""
_LOOK_S = 0.25

registry_option = click.option(
    "--registry", type=click.Path(path_type=Path), envvar="ATTEST_MODEL_REGISTRY", required=True, help="The registry."
)


async def served(settings: Settings, patience_s: float = 3.0) -> tuple[ModelInfo, ...] | None:
    """Return what the inference tier offers; None when it does not answer."""
    bounds = Bounds(silence_s=patience_s, connect_s=patience_s)
    endpoint = OpenAICompatModel(
        settings.inference, api_key=settings.inference_api_key.get_secret_value(), bounds=bounds
    )
    try:
        return await endpoint.models()
    except InferenceError:
        return None
    finally:
        await endpoint.close()


async def comes_true(settings: Settings, offer: Offer, wait_s: float) -> bool:
    """Say whether the inference tier offers just this, at the latest after `wait_s` seconds."""
    until = time.monotonic() + wait_s
    while True:
        found = offers_of_models(await served(settings) or ())
        if found.get(offer.model) == offer:
            return True
        if time.monotonic() >= until:
            return False
        await asyncio.sleep(_LOOK_S)
