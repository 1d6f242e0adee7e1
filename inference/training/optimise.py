"""One phase of training: AdamW, cosine schedule over its time budget, checkpoints that a later run resumes."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GlmForCausalLM

from inference.engine import devices
from inference.training.batches import IGNORED, Batch

log = logging.getLogger(__name__)

WARM_UP = 0.03
CLIP = 1.0
REPORT_EVERY = 50


@dataclass(frozen=True)
class Phase:
    """What one phase does: its name, time budget in seconds and learning rates (peak, last)."""

    name: str
    seconds: float
    peak: float
    last: float


@dataclass
class Progress:
    """Seconds spent and steps done in each phase, kept with the weights."""

    seconds: dict[str, float]
    steps: dict[str, int]


def batch_loss(model: GlmForCausalLM, batch: Batch) -> Tensor:
    """Return the weighted mean cross entropy of the learned tokens; the output layer runs on those places only."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=devices.computes_bfloat16(devices.CPU)):
        hidden = model.model(batch.ids).last_hidden_state[:, :-1]
        targets = batch.labels[:, 1:]
        counted = targets != IGNORED
        logits = model.lm_head(hidden[counted])
    weights = batch.weights[:, 1:][counted]
    losses = cross_entropy(logits.float(), targets[counted], reduction="none")
    return (losses * weights).sum() / weights.sum()


def new_optimiser(model: GlmForCausalLM) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices only."""
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.97), fused=True)


def rate(phase: Phase, spent: float) -> float:
    """Return the learning rate after `spent` seconds: linear warm-up, then cosine from `peak` to `last`."""
    done = min(1.0, spent / phase.seconds)
    if done < WARM_UP:
        return phase.peak * (0.05 + 0.95 * done / WARM_UP)
    return phase.last + (phase.peak - phase.last) * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def save(path: Path, model: GlmForCausalLM, optimiser: torch.optim.AdamW, progress: Progress) -> None:
    """Write the state atomically."""
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "seconds": progress.seconds,
            "steps": progress.steps,
        },
        partial,
    )
    partial.replace(path)


def load(path: Path, model: GlmForCausalLM, optimiser: torch.optim.AdamW) -> Progress:
    """Continue from `path` where it exists, else start at nothing."""
    if not path.exists():
        return Progress(seconds={}, steps={})
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return Progress(seconds=state["seconds"], steps=state["steps"])


def run_phase(
    phase: Phase,
    model: GlmForCausalLM,
    optimiser: torch.optim.AdamW,
    progress: Progress,
    batches: Iterator[Batch],
    *,
    every: float,
    checkpoint: Callable[[], None],
) -> None:
    """Train until the phase's time is spent; call `checkpoint` each `every` seconds and at the end."""
    started, spent_before = time.monotonic(), progress.seconds.get(phase.name, 0.0)
    spent, next_checkpoint, losses, tokens = spent_before, spent_before + every, 0.0, 0
    model.train()
    while spent < phase.seconds:
        batch = next(batches)
        for group in optimiser.param_groups:
            group["lr"] = rate(phase, spent)
        loss = batch_loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        spent = spent_before + time.monotonic() - started
        losses, tokens = losses + loss.item(), tokens + batch.ids.numel()
        step = progress.steps[phase.name] = progress.steps.get(phase.name, 0) + 1
        progress.seconds[phase.name] = spent
        if step % REPORT_EVERY == 0:
            speed = tokens / (spent - spent_before)
            log.info(
                "%s step %d, %.0f of %.0f s, loss %.3f, %.0f tokens/s, rate %.2e",
                phase.name, step, spent, phase.seconds, losses / REPORT_EVERY, speed, rate(phase, spent),
            )  # fmt: skip
            losses = 0.0
        if spent >= next_checkpoint:
            checkpoint()
            next_checkpoint = spent + every
    checkpoint()
