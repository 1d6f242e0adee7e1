"""Logits → the next token, each request with a random generator of its own."""

import secrets

import torch
from torch import Tensor

_NUCLEUS = 512
"""Tokens that are sorted first; the whole vocabulary is sorted only when these do not hold enough probability."""


class Sampler:
    """Chooses tokens for one request: greedily at temperature 0, else from the nucleus `top_p`."""

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        self._temperature = temperature
        self._top_p = top_p
        self._random = torch.Generator().manual_seed(seed if seed is not None else secrets.randbits(63))

    def choose(self, logits: Tensor) -> int:
        """Return a token for one row of logits (vocabulary, fp32)."""
        if self._temperature < 1e-5:  # noqa: PLR2004 - below this a division overflows and greedy is what is meant
            return int(logits.argmax())
        probabilities = torch.softmax(logits / self._temperature, dim=-1)
        if self._top_p >= 1:
            return int(torch.multinomial(probabilities, 1, generator=self._random))
        kept, indexes = self._nucleus(probabilities)
        return int(indexes[torch.multinomial(kept, 1, generator=self._random)])

    def _nucleus(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Return the most probable tokens that together just reach `top_p`, at least one."""
        size = probabilities.shape[-1]
        for count in (min(_NUCLEUS, size), size):
            kept, indexes = torch.topk(probabilities, count)
            before = kept.cumsum(-1) - kept
            inside = int((before < self._top_p).sum())
            if inside < count or count == size:
                break
        inside = max(1, inside)
        return kept[:inside], indexes[:inside]


def allowed_bias(vocabulary: int, pieces: int, stop_ids: tuple[int, ...]) -> Tensor:
    """Return what is added to logits so that only pieces of text and stop ids can be chosen (vocabulary)."""
    bias = torch.zeros(vocabulary)
    bias[pieces:] = float("-inf")
    for stop in stop_ids:
        if stop < vocabulary:
            bias[stop] = 0.0
    return bias
