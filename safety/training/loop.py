"""The training loop: rounds of batches, one schedule over the run, a checkpoint that a stopped run continues from."""

import json
import logging
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as f

from safety.training.corpus import TRAINING_FILE, Example, load, load_seeds
from safety.training.network import Network
from safety.training.sampling import ROUNDS, Batch, Sampler
from safety.training.vocabulary import without_words

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rates:
    """Highest learning rates; embeddings at rate 0 stay as they are."""

    embeddings: float
    encoder: float
    head: float


FIRST_READER = Rates(5e-4, 1.5e-4, 1e-3)
SPECIALISTS = {"en": Rates(0.0, 1e-4, 1e-3), "zh": Rates(2e-4, 1e-4, 1e-3)}
"""A specialist's encoder knows its language; the English one its words too, Chinese words are new to the other."""
WARM_UP = 0.04
"""Share of the run with a rising rate; in its first half the encoder's layers stay as they are."""
SMOOTHING = 0.02
HARM_SHARE = 1.0
"""Weight of the harm score's loss against the sum of the eight labels' losses."""
SAVE_EVERY_S = 240.0
CONTINUED = 0.8
"""Factor on the rates of a run that goes on from a shipped classifier: enough to learn anew, not only to shift."""
FINISH_AT = 0.45
"""Share of a run of given length after which rounds have the finishing mix."""


@dataclass(slots=True)
class Progress:
    """How far a run is; saved with the weights."""

    round_number: int = 0
    batch: int = 0
    seconds: float = 0.0
    rows: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run was asked for."""

    data: Path
    out: Path
    seeds: Path
    seed: int
    tokens: int | None
    """Length of the run in tokens of labelled rows, padding not counted; without it, `ROUNDS` rounds."""
    start: Path | None = None
    """A shipped classifier to go on from, at lower rates."""
    language: str | None = None
    """The run of a specialist: rows of one language."""
    other: Path | None = None
    """An ended run of the same specialist, whose weights join this run's at export."""

    @property
    def first_weights(self) -> Path:
        """Where a run keeps the weights that it starts from."""
        return self.out / "first.pt"

    @property
    def rates(self) -> Rates:
        """The highest learning rates, before `top_rate`."""
        return FIRST_READER if self.language is None else SPECIALISTS[self.language]

    def learned(self) -> list[Example]:
        """Read the rows that the run learns from."""
        return [*self.of_data(), *self.of_seeds()]

    def of_data(self) -> list[Example]:
        """Read those of the data folder."""
        return self._shown(load(self.data / TRAINING_FILE))

    def of_seeds(self) -> list[Example]:
        """Read those of our own; again for each round, so that what is written meanwhile counts."""
        return self._shown(load_seeds(self.seeds))

    def _shown(self, rows: list[Example]) -> list[Example]:
        return [row for row in rows if self.language in (None, row.lang)]

    @property
    def top_rate(self) -> float:
        """Factor on the highest learning rates."""
        return CONTINUED if self.start is not None else 1.0

    @property
    def finish_at(self) -> float:
        """Share of the run after which rounds have the finishing mix."""
        return 1.0 if self.tokens is None else FINISH_AT


def share_done(plan: Plan, progress: Progress, batches: int) -> float:
    """Between 0 and 1: the schedule's clock. It counts work, not time: a busy machine gives the same weights."""
    if plan.tokens is not None:
        return progress.tokens / plan.tokens
    return (progress.round_number + progress.batch / max(batches, 1)) / ROUNDS


def rate_at(share: float) -> float:
    """Factor on every learning rate: a ramp up, then a straight line down to nothing."""
    return share / WARM_UP if share < WARM_UP else max(0.0, (1 - share) / (1 - WARM_UP))


def optimiser(network: Network, rates: Rates) -> torch.optim.Optimizer:
    """AdamW with one rate each for embeddings, encoder and head."""
    network.words.weight.requires_grad_(rates.embeddings > 0)
    encoder = [value for name, value in network.named_parameters() if not name.startswith(("words", "head"))]
    return torch.optim.AdamW(
        [
            {
                "params": list(network.words.parameters()),
                "lr": rates.embeddings,
                "top": rates.embeddings,
                "weight_decay": 0.0,
            },
            {"params": encoder, "lr": rates.encoder, "top": rates.encoder, "weight_decay": 0.01},
            {"params": list(network.head.parameters()), "lr": rates.head, "top": rates.head, "weight_decay": 0.01},
        ],
        betas=(0.9, 0.98),
        fused=True,
    )


def loss_of(network: Network, batch: Batch) -> Tensor:
    """Binary cross-entropy of the eight labels (summed) and of the harm score, smoothed and weighted."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=_computes_bfloat16()):
        logits = network(batch.ids, batch.mask)
    targets = batch.targets * (1 - 2 * SMOOTHING) + SMOOTHING
    losses = f.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none") * batch.weights
    return losses[:, :8].sum(1).mean() + HARM_SHARE * losses[:, 8].mean()


@cache
def _computes_bfloat16() -> bool:
    """Say whether the processor has instructions for bfloat16; imitated, it takes several times as long as float32."""
    found = torch.cpu.get_capabilities()
    return found["architecture"] != "x86_64" or bool(found["amx_bf16"] or found["avx512_bf16"])


def train(network: Network, tokenizer: Tokenizer, plan: Plan) -> Progress:
    """Train to the plan's end, from its checkpoint when one is there; weights end in `out/network.pt`."""
    rates = optimiser(network, plan.rates)
    progress = _resume(network, rates, plan.out)
    rows = plan.of_data()
    sampler = Sampler(tokenizer, without_words(tokenizer), plan.seed)
    torch.manual_seed(plan.seed + progress.rows)
    network.train()
    share = share_done(plan, progress, 1)
    while share < 1:
        finishing = share >= plan.finish_at
        batches = sampler.batches([*rows, *plan.of_seeds()], progress.round_number, finishing=finishing)
        share = _round(network, rates, plan, progress, batches, 1.0 if finishing else plan.finish_at)
        progress.round_number, progress.batch = progress.round_number + 1, 0
        _save(network, rates, progress, plan.out)
    return progress


def _round(
    network: Network,
    rates: torch.optim.Optimizer,
    plan: Plan,
    progress: Progress,
    batches: list[Batch],
    until: float,
) -> float:
    saved, running = progress.seconds, 0.0
    share = 0.0
    for batch in batches[progress.batch :]:
        began = time.monotonic()
        share = share_done(plan, progress, len(batches))
        if share >= until:
            break
        for group in rates.param_groups:
            group["lr"] = group["top"] * plan.top_rate * rate_at(share)
        if share < WARM_UP / 2:
            rates.param_groups[1]["lr"] = 0.0
        loss = loss_of(network, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        rates.step()
        rates.zero_grad()
        running = 0.98 * running + 0.02 * loss.item() if running else loss.item()
        progress.batch += 1
        progress.rows += len(batch.ids)
        progress.tokens += int(batch.mask.sum())
        progress.seconds += time.monotonic() - began
        if progress.batch % 50 == 0:
            log.info(
                "round %d batch %d/%d rows %d tokens %d %.0fs loss %.4f",
                progress.round_number,
                progress.batch,
                len(batches),
                progress.rows,
                progress.tokens,
                progress.seconds,
                running,
            )
        if progress.seconds - saved > SAVE_EVERY_S:
            _save(network, rates, progress, plan.out)
            saved = progress.seconds
    return share_done(plan, progress, len(batches)) if share < 1 else 1.0


def _save(network: Network, rates: torch.optim.Optimizer, progress: Progress, out: Path) -> None:
    temporary = out / "checkpoint.tmp"
    torch.save({"network": network.state_dict(), "rates": rates.state_dict()}, temporary)
    temporary.replace(out / "checkpoint.pt")
    state = {name: getattr(progress, name) for name in Progress.__slots__}
    (out / "progress.json").write_text(json.dumps(state), "utf-8")
    log.info("saved %s", state)


def _resume(network: Network, rates: torch.optim.Optimizer, out: Path) -> Progress:
    if not (out / "checkpoint.pt").exists():
        return Progress()
    saved = torch.load(out / "checkpoint.pt", weights_only=True)
    network.load_state_dict(saved["network"])
    rates.load_state_dict(saved["rates"])
    return Progress(**json.loads((out / "progress.json").read_text("utf-8")))
