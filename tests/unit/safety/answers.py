"""Answers put together of what cuts and numbers are made of."""

from hypothesis import strategies as st

ANSWERS = st.lists(
    st.sampled_from(
        [
            "你好",
            "。",
            "！",
            "……",
            "…",
            "word",
            " ",
            "\n",
            ". ",
            ".",
            "3.14",
            "e.g. ",
            "a@b.cn",
            "”",
            ")",
            "```\n",
            "炸",
            "弹",
            "1",
            ",",
            "(212) ",
            "GB29 ",
            "NWBK",
            "）",
        ]
    ),
    max_size=60,
).map("".join)
