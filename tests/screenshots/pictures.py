"""Which pictures are taken, by whom, and what each shows."""

from dataclasses import dataclass

from gateway.auth.principal import Role
from gateway.console.sections import SECTIONS
from gateway.web.catalogue import Catalogue

LANGUAGES = ("en", "zh-CN")
OFFICERS = {Role.COMPLIANCE: "carol", Role.SECURITY: "sam", Role.ADMIN: "ada"}
"""Who of the development provider's people has a role."""


@dataclass(frozen=True)
class Picture:
    """One page; `shows` in each of `LANGUAGES`."""

    name: str
    shows: tuple[str, str]

    def file(self, language: str) -> str:
        """Return the file's name."""
        return f"{self.name}.{language}.webp"


STAFF = (
    Picture("sign-in", ("Signing in with the development provider", "使用开发环境身份提供方登录")),
    Picture("chat-welcome", ("The chat page of somebody who just came in", "刚进入时的聊天页面")),
    Picture("chat-answer", ("An answer with a list, a table and code", "含列表、表格和代码的回答")),
    Picture("chat-blocked", ("A message that was blocked: why, and how to contest it", "被拦截的消息：原因与提出异议")),
    Picture(
        "chat-outcome", ("The outcome of an appeal, where the person asked", "异议的处理结果，显示在当事人提问之处")
    ),
    Picture("chat-redacted", ("Personal data replaced before the answer was shown", "回答显示之前，个人信息已被替换")),
    Picture("chat-dark", ("The same in dark colours", "深色模式")),
    Picture("chat-phone", ("The chat page on a phone", "手机上的聊天页面")),
    Picture("usage-own", ("A person's own usage and budgets", "个人用量与预算")),
)
PARTS = (
    Picture("turn", ("A turn's page: texts, findings, stages, proof", "单轮页面：文本、命中、阶段与证明")),
    Picture("turn-closed", ("The same without a case: texts are closed", "未选择案件时的同一页面：文本不可见")),
    Picture("policy-version", ("A candidate policy: what it would change", "候选策略：将带来的变更")),
    Picture("case", ("A case: turns, notes, holds, export", "案件：轮次、备注、保全与导出")),
    Picture("report", ("The report of a case, made to be printed", "可打印的案件报告")),
    Picture("review", ("A turn in the review queue", "复核队列中的一轮")),
    Picture("security-dark", ("The security view in dark colours", "安全视图的深色模式")),
)


def of_sections(catalogues: dict[str, Catalogue]) -> tuple[Picture, ...]:
    """Return a picture of every section of the console, called as the navigation calls it."""
    words = [catalogues[language] for language in LANGUAGES]
    return tuple(Picture(_name(one.path), (words[0].text(one.title), words[1].text(one.title))) for one in SECTIONS)


def who_sees(path: str) -> str:
    """Return whose picture of a section is taken."""
    roles = next(one.roles for one in SECTIONS if one.path == path)
    return next(name for role, name in OFFICERS.items() if role in roles)


def all_pictures(catalogues: dict[str, Catalogue]) -> tuple[Picture, ...]:
    """Return every picture, in the order of the index."""
    return (*STAFF, *of_sections(catalogues), *PARTS)


def _name(path: str) -> str:
    return path.removeprefix("/console/")


def index(catalogues: dict[str, Catalogue], language: str) -> str:
    """Return the index as Markdown, in a language."""
    which = LANGUAGES.index(language)
    title, told, columns = _WORDS[which]
    lines = [f"# {title}", "", told, "", f"| {columns[0]} | {columns[1]} |", "|---|---|"]
    for one in all_pictures(catalogues):
        shows = one.shows[which]
        lines.append(f"| {shows} | ![{shows}]({one.file(language)}) |")
    return "\n".join(lines) + "\n"


_WORDS = (
    (
        "What it looks like",
        (
            "Every page, in English; [中文](README.zh-CN.md). `make screenshots` takes these pictures of the running "
            "product with a small set of made-up data; people and texts are invented."
        ),
        ("Page", "Picture"),
    ),
    (
        "界面一览",
        (
            "全部页面的中文界面；[English](README.md)。`make screenshots` 使用少量虚构数据，"
            "对运行中的产品截取这些图片；人物与文本均为虚构。"
        ),
        ("页面", "图片"),
    ),
)
