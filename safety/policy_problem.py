"""What can be wrong with a policy, as values: a page says it in its reader's language, a command line in English."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Wrong(StrEnum):
    """Stable codes; each one's words for people are the message `console.policy.wrong.CODE`."""

    UNREADABLE = "unreadable"
    NOT_YAML = "not_yaml"
    OUT_OF_RANGE = "out_of_range"
    TOO_LONG = "too_long"
    TOO_DEEP = "too_deep"
    ALIAS = "alias"
    MERGE_KEY = "merge_key"
    NO_KEY = "no_key"
    KEY_TWICE = "key_twice"
    SURROGATE = "surrogate"
    NOT_FIELDS = "not_fields"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    NOT_ONE_OF = "not_one_of"
    NOT_A_VALUE = "not_a_value"
    NOTHING_SAID = "nothing_said"
    NO_SUCH_CATEGORY = "no_such_category"
    BANDS_CROSS = "bands_cross"
    PSEUDONYMISE = "pseudonymise"
    WEAKER = "weaker"
    NO_SUCH_RULE = "no_such_rule"
    COMPANY_WORDS = "company_words"
    ALTERED = "altered"


class Problem(msgspec.Struct, frozen=True):
    """One thing to mend; `str` of it is the English sentence."""

    code: Wrong
    said: str
    """What is wrong, in English."""
    at: str = ""
    """Path of the field; empty: the policy as a whole."""
    line: int = 0
    column: int = 0
    """Place in the text, counted from 1, where no field is known yet; 0: none."""
    values: Mapping[str, str] = {}
    """What the words for people name."""

    def __str__(self) -> str:
        """Return it on one line."""
        return f"{self.at or (f'line {self.line}, column {self.column}' if self.line else 'the policy')}: {self.said}"
