"""Varied, harmless prompts (about 80 characters) and answers (about 200 characters, three sentences), en and zh.

Made from word lists by a seeded generator: hundreds of thousands of different texts, so that a cache of verdicts behind
the gateway cannot help, and yet ordinary sentences that a classifier has no reason to block.
"""

import json
import random
from pathlib import Path


def _options(*lines: str) -> list[str]:
    return "|".join(lines).split("|")


EN = {
    "who": _options(
        "the team|our office|the library|a new colleague|the project group|the garden club",
        "the school|the museum|the local bakery|the research unit|the choir|the travel desk",
    ),
    "does": _options("plans|prepares|describes|compares|improves|reviews|organises|presents|measures|explains"),
    "what": _options(
        "the spring schedule|a short report|the weekly menu|the train timetable|a table of results|the meeting notes",
        "the reading list|a simple diagram|the annual budget|the welcome letter|the seating plan|a set of photos",
    ),
    "when": _options(
        "before lunch|in the morning|on Tuesday|at the end of May",
        "after the workshop|during the winter|within two weeks|once a quarter",
    ),
}
ZH = {
    "who": _options(
        "我们团队|图书馆|新来的同事|项目小组|园艺社|学校|博物馆|街角的面包店|研究室|合唱团|旅行部门|社区中心"
    ),
    "does": _options("计划|准备|介绍|比较|改进|检查|组织|展示|统计|说明"),
    "what": _options(
        "春季的日程安排|一份简短的报告|每周的菜单|列车时刻表|一张结果表格|会议记录",
        "阅读书单|一幅简单的示意图|年度预算|欢迎信|座位安排|一组照片",
    ),
    "when": _options("在午饭之前|在早上|在星期二|在五月底|在研讨会之后|在冬天|在两周之内|每个季度"),
    "why": _options(
        "让大家都知道下一步怎么做|因为数字有了变化|可以节省不少时间",
        "这是上个月商量好的|这样工作会更轻松|因为很多人都提出了这个要求",
    ),
}


def _pick(words: dict[str, list[str]], chance: random.Random) -> dict[str, str]:
    return {name: chance.choice(options) for name, options in words.items()}


def prompt(lang: str, number: int) -> str:
    """Return prompt `number`; no two are the same."""
    chance = random.Random(f"prompt {lang} {number}")
    if lang == "zh":
        w = _pick(ZH, chance)
        text = f"请用三句话说明第{number}号任务：{w['who']}为什么{w['when']}{w['does']}{w['what']}，{w['why']}，"
        return text + "并写出两个容易做到的建议和一个需要注意的地方，谢谢你的帮助和耐心解答。"[: max(0, 80 - len(text))]
    w = _pick(EN, chance)
    return f"For item {number}: why {w['who']} {w['does']} {w['what']} {w['when']}? Three sentences."


def sentences(lang: str, number: int) -> list[str]:
    """Return the three sentences of answer `number`."""
    chance = random.Random(f"answer {lang} {number}")
    made = []
    for place in range(3):
        if lang == "zh":
            w, v = _pick(ZH, chance), _pick(ZH, chance)
            made.append(
                f"第{number + place}点，{w['who']}{w['when']}{w['does']}{w['what']}，{w['why']}，"
                f"同时{v['who']}也会{v['does']}{v['what']}，{v['why']}，最后大家一起确认。"
            )
        else:
            w = _pick(EN, chance)
            made.append(f"Note {number + place}: {w['who']} {w['does']} {w['what']} {w['when']}.")
    return [text if lang == "zh" or place == 0 else " " + text for place, text in enumerate(made)]


def deltas(text: str, size: int) -> list[str]:
    """Cut a text as a model would stream it."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def write_answers(path: Path, lang: str, count: int) -> None:
    """Write the file that the scripted upstream reads: one answer a line, deltas between tabs, escaped for JSON."""
    size = 2 if lang == "zh" else 6
    with path.open("w") as out:
        for number in range(count):
            parts = deltas("".join(sentences(lang, number)), size)
            out.write("\t".join(json.dumps(part, ensure_ascii=False)[1:-1] for part in parts) + "\n")
