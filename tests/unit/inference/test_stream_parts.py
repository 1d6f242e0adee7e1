"""Small parts of a stream: stop strings, server-sent events, sampling, log lines."""

import itertools
import json
import logging
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.sampling import Sampler, allowed_bias
from inference.logs import JsonFormatter
from inference.sse import EventParser, EventTooLargeError
from inference.stop import StopScanner

STOPS = st.lists(st.text(alphabet="ab", min_size=1, max_size=3), min_size=1, max_size=3).map(tuple)


@given(stops=STOPS, parts=st.lists(st.text(alphabet="abc", max_size=4), max_size=10))
def test_stop_scanner_equals_a_search_in_the_whole_text(stops, parts):
    whole = "".join(parts)
    ends = [whole.find(stop) + len(stop) for stop in stops if stop in whole]
    scanner, shown, stopped = StopScanner(stops), "", False
    for part in parts:
        text, stopped = scanner.feed(part)
        shown += text
        if stopped:
            break
    if not stopped:
        shown += scanner.flush()
    assert stopped == bool(ends)
    assert not any(stop in shown for stop in stops)
    assert whole.startswith(shown)
    assert stopped or shown == whole


@given(
    events=st.lists(st.binary(min_size=1, max_size=20).filter(lambda raw: not {10, 13} & set(raw)), max_size=5),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    end=st.sampled_from([b"\n", b"\r\n"]),
)
def test_events_survive_any_cutting(events, cuts, end):
    raw = b"".join(b": comment" + end + b"data: " + event + end + end for event in events)
    places = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    parser = EventParser(1000)
    found = [event for one, two in itertools.pairwise(places) for event in parser.feed(raw[one:two])]
    assert found == events


def test_an_event_of_several_lines():
    assert list(EventParser(100).feed(b"event: x\ndata: a\ndata:b\nid: 1\n\n\n\n")) == [b"a\nb"]


@pytest.mark.parametrize("chunk", [b"x" * 64, b"data: x\n", b"data:\n", b"data: " + b"y" * 200 + b"\n\n"])
def test_an_endless_event_is_cut_off(chunk):
    parser = EventParser(100)
    with pytest.raises(EventTooLargeError):
        [list(parser.feed(chunk)) for _ in range(1000)]


def test_sampling_follows_the_probabilities():
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    sampler = Sampler(1.0, 1.0, 0)
    counts = torch.bincount(torch.tensor([sampler.choose(probabilities.log()) for _ in range(4000)]), minlength=4)
    assert torch.allclose(counts / 4000, probabilities, atol=0.03)


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, {0}), (0.51, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3})])
def test_nucleus_keeps_the_fewest_tokens_that_reach_it(top_p, kept):
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    sampler = Sampler(1.0, top_p, 0)
    assert {sampler.choose(logits) for _ in range(400)} == kept


def test_a_flat_distribution_over_many_tokens_needs_the_whole_vocabulary():
    sampler = Sampler(1.0, 0.9, 0)
    assert max(sampler.choose(torch.zeros(4000)) for _ in range(200)) > 1000


@pytest.mark.parametrize("temperature", [0.0, 1e-30, 1e-6])
def test_no_temperature_is_greedy(temperature):
    assert Sampler(temperature, 0.9, None).choose(torch.tensor([1.0, 3.0, 2.0])) == 1


def test_only_pieces_and_stop_ids_are_allowed():
    bias = allowed_bias(10, 5, (2, 7, 99))
    assert [index for index in range(10) if bias[index] == 0] == [0, 1, 2, 3, 4, 7]


def test_a_log_line_has_only_named_fields_and_no_exception_text():
    logger = logging.getLogger("attest.test")
    error = ValueError("secret")
    record = logger.makeRecord("attest.test", 40, "f", 1, "failed", (), (ValueError, error, None))
    record.prompt = "secret"
    record.status = 500
    line = JsonFormatter().format(record)
    assert "secret" not in line
    assert json.loads(line)["status"] == 500
    assert json.loads(line)["error_type"] == "ValueError"


def test_the_client_needs_no_torch():
    code = "import sys, inference.openai_compat, inference.ports; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
