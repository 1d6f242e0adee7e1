"""What people are told that a rule is about, in English and Chinese; never its pattern."""

from collections.abc import Iterable, Mapping

from safety.filters.rules import Rule, Title
from safety.verdict import Category

OTHERS: Mapping[str, Title] = {
    "model.message": Title("Judgement of the harm classifier", "有害内容分类器的判断"),
    "model.window": Title("Judgement of the harm classifier over the conversation", "有害内容分类器对整段对话的判断"),
    "model.second_opinion": Title("Judgement of a language model as second opinion", "语言模型的复核判断"),
    "prompt_attack.encoded.too_much": Title("Too many layers of encoding", "编码嵌套过多"),
}
"""Rules that stand in no pack."""
_COMPANY = Title("Word on a company list", "公司词表中的词")


class Titles:
    """Titles by rule id."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Gather the titles of `rules` and of the rules that stand in no pack."""
        self._titles = dict(OTHERS) | {rule.id: rule.title for rule in rules}

    def title(self, rule: str, language: str) -> str:
        """Return the title of a rule in `language` (`zh…` or anything else); empty for a rule that is not known."""
        title = self._titles.get(rule)
        if title is None and rule.startswith(f"{Category.COMPANY}."):
            title = _COMPANY
        if title is None:
            return ""
        return title.zh if language.startswith("zh") else title.en
