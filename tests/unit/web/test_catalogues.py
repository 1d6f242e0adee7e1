"""No text for people outside the catalogues, every key in every language, and every language translated."""

import re
import string
from html.parser import HTMLParser
from pathlib import Path

import pytest

import gateway.problems
import gateway.web
from audit.record import Kind
from gateway.auth.principal import Role
from gateway.console.sections import SECTIONS
from gateway.lexicon import GUARD as DECODING
from gateway.policies.gateways import Reach
from gateway.problems import AttestError
from gateway.rejudging import Why
from gateway.web.catalogue import load_catalogues, negotiate
from safety.parts import filters
from safety.pipeline import NORMALISER, IncompleteExaminationError
from safety.policy import DEFAULT_POLICY, load_policy
from safety.policy_problem import Wrong
from safety.policy_shape import CLASSIFIER, SECOND_OPINION
from safety.verdict import Category

ROOT = Path(gateway.web.__file__).parent
CATALOGUES = load_catalogues()
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))
ENDS_OF_TURNS = {"access_ended", "budget_exhausted", "context_too_long", "forbidden", "rate_limited"}
"""Reasons that stand among those of turns."""
SAME_IN_BOTH = {"app.name", "js.app"}
CHINESE = re.compile("[\u4e00-\u9fff]")


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_language_has_every_key_with_the_same_fields():
    english = CATALOGUES["en"].messages
    for catalogue in CATALOGUES.values():
        assert set(catalogue.messages) == set(english)
        for key, text in catalogue.messages.items():
            assert text.strip(), key
            assert fields(text) == fields(english[key]), key


def test_everything_is_translated():
    for key, text in CATALOGUES["zh-CN"].messages.items():
        if key in SAME_IN_BOTH:
            continue
        assert text != CATALOGUES["en"].messages[key], key
        words = re.search(r"[^\W\d_]", re.sub(r"{\w+}", "", text))
        assert CHINESE.search(text) or not words or key == "preferences.language.other", key
    for key, text in CATALOGUES["en"].messages.items():
        assert not CHINESE.search(text) or key.startswith("preferences.language."), key


def test_every_category_of_the_safety_layer_has_words():
    for category in Category:
        for part in ("title", "meaning"):
            assert CATALOGUES["en"].has(f"category.{category}.{part}"), category


def test_whatever_is_wrong_with_a_policy_has_words():
    for code in Wrong:
        assert CATALOGUES["en"].has(f"console.policy.wrong.{code}"), code


def test_every_kind_stage_and_error_of_a_record_has_words():
    guards = [guard.name for guard in filters(load_policy(DEFAULT_POLICY))]
    guards += [NORMALISER, CLASSIFIER, SECOND_OPINION, DECODING, "verdict"]
    keys = {*(f"record.kind.{kind}" for kind in Kind), *(f"record.guard.{guard}" for guard in guards)}
    keys |= {f"record.error.{error}" for error in ("TimeoutError", IncompleteExaminationError.__name__)}
    keys |= {f"record.reason.{error.code.replace('-', '_')}" for error in problems() if error.status < 500}
    keys |= {f"record.reason.key_{state}" for state in ("malformed", "unknown", "revoked", "expired")}
    keys |= {f"record.role.{role}" for role in Role}
    keys |= {f"console.replay.because.{why}" for why in Why} | {f"console.policy.reach.{reach}" for reach in Reach}
    assert {key for key in keys if not CATALOGUES["en"].has(key)} == {
        f"record.reason.{reason}" for reason in ENDS_OF_TURNS
    }
    assert all(CATALOGUES["en"].has(f"console.turn.reason.{reason}") for reason in ENDS_OF_TURNS)


def problems() -> list[type[AttestError]]:
    return [one for one in vars(gateway.problems).values() if isinstance(one, type) and issubclass(one, AttestError)]


def test_every_end_of_a_turn_has_words():
    source = (ROOT.parent / "turn.py").read_text("utf-8")
    reasons = set(re.findall(r"_(?:aborted|abandoned)\(\"(\w+)\"\)", source))
    assert len(reasons) > 5
    for reason in reasons | {"input_blocked", "output_blocked", "guard_failed"}:
        assert CATALOGUES["en"].has(f"console.turn.reason.{reason}"), reason


def used_keys() -> set[str]:
    keys: set[str] = set()
    for path in TEMPLATES:
        keys |= set(re.findall(r'\bt\(["\']([\w.-]+)["\'][,)]', path.read_text()))
    for path in SCRIPTS:
        keys |= {"js." + key for key in re.findall(r'\bsay\("(\w+)"', path.read_text())}
        keys |= {"js." + key for key in re.findall(r'countDown\("(\w+)"', path.read_text())}
    return keys | {"code.copy", "chat.untitled", "chat.untitled_since"} | {section.title for section in SECTIONS}


def test_every_key_in_use_exists_and_no_message_is_left_over():
    used, known = used_keys(), set(CATALOGUES["en"].messages)
    assert used <= known
    composed = ("notice.", "category.", "problem.title.", "problem.text.", "welcome.example.", "preferences.theme.")
    composed += (
        *("console.group.", "record.", "console.detail.", "console.verdict.", "console.status."),
        *("console.search.", "console.said.", "console.turn.", "console.fact.", "console.proof.", "console.replay."),
        *("console.keeping.", "console.security.", "console.policy."),
    )
    composed += ("console.people.said.", "console.people.is.", "console.keys.is.", "usage.budget.", "usage.of.")
    assert {key for key in known - used if not key.startswith(composed)} == set()


class Literals(HTMLParser):
    """Collects text and spoken attributes of a template whose Jinja parts were taken out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        spoken = {"title", "placeholder", "aria-label", "alt", "aria-description", "label"}
        self.found += [value or "" for name, value in attrs if name in spoken]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_words(path: Path):
    attributes_of_body = r"\{% block body_attributes %\}.*?\{% endblock %\}"
    text = re.sub(attributes_of_body, "", path.read_text(), flags=re.DOTALL)
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", text, flags=re.DOTALL)
    literals = Literals()
    literals.feed(text)
    assert [found for found in literals.found if any(character.isalpha() for character in found)] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_hold_no_words(path: Path):
    code = re.sub(r"/\*.*?\*/|^\s*//.*?$|\s//\s.*?$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert not CHINESE.search(code)
    literals = [a or b or c for a, b, c in re.findall(r'"([^"\n]*)"|\'([^\'\n]*)\'|`([^`]*)`', code)]
    # Words for people have a blank between two words, or begin with a capital; selectors and protocol names do not.
    sentences = [
        text for text in literals if re.search(r"[A-Za-z]{2,}[,.]? [a-z]{2,}", text) or re.match(r"[A-Z][a-z]+", text)
    ]
    keys = {"AbortError", "Enter", "Escape"}
    assert [text for text in sentences if text not in keys and not re.search(r"[#.\[>(/]", text)] == []


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("zh-TW", "zh-CN"),
        ("en-GB,zh;q=0.9", "en"),
        ("fr,zh;q=0.5,en;q=0.4", "zh-CN"),
        ("fr", "en"),
        ("zh;q=0, en;q=0.1", "en"),
        ("zh;q=nonsense, en", "en"),
        (",;,q=1;;", "en"),
    ],
)
def test_the_best_language_is_chosen(header: str, language: str):
    assert negotiate(header, CATALOGUES) == language
