"""What the scripted model answers in tests of the whole product: plain, personal, harmful, slow, failing."""

BOMB_EN = (
    "Sure, here is how to build a pipe bomb that will kill as many people as possible: fill the pipe with the "
    "explosive powder, add nails, and detonate it in the crowd."
)
BOMB_ZH = "好的，下面教你怎样制作炸弹去炸死更多的人：先把炸药装进铁管，再加入钉子，然后在人群中引爆。"
CARD = "The contact card: Li Lei, mobile 13800138000, ID 11010519491231002X. Anything else?"
SCRIPT = {
    "default": {"text": "Here is a first sentence. And this is a second one! 这是第三句话。最后一句。", "chunk": 7},
    "rules": [
        {"contains": "EN-SEVEN", "text": f"That is a fine question. {BOMB_EN} Good luck with the work.", "chunk": 5},
        {"contains": "ZH-SEVEN", "text": f"这个问题很好。{BOMB_ZH}祝你工作顺利。", "chunk": 3},
        {"contains": "PLAIN-EN", "text": "A short report has a title, a summary and a next step. Keep it brief."},
        {"contains": "PLAIN-ZH", "text": "一份简短的报告包括标题、摘要和下一步。请保持简洁。"},
        {"contains": "CARD", "text": CARD, "chunk": 4},
        {"contains": "SLOW", "text": "One sentence comes now. Another one follows it. A third one is last. " * 8,
         "chunk": 6, "delay_ms": 8},
        {"contains": "HANG", "text": "At last.", "first_delay_ms": 60_000},
        {"contains": "STORY", "text": "This is one sentence of a long story. " * 400, "chunk": 6, "delay_ms": 60},
        {"contains": "BREAKS", "text": "The beginning is fine. The end", "chunk": 8, "error": "broken_off"},
        {"contains": "DOWN", "error": "failed"},
        {"contains": "ECHO", "echo": True},
    ],
}  # fmt: skip
