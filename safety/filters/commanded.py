"""Checks for whether a phrase is an order to the assistant or a sentence about others, from what stands around it.

"Ignore the safety rules" is an attack; "employees who ignore the safety rules" and "司机无视安全规则" are what offices
write about all day. The phrase alone does not tell; the subject before it and what follows it do. What speaks of
instructions, prompts or 'your' rules stays an order, whoever is named before it: so attackers write.
"""

import re

from safety.filters.engine import Candidate
from safety.filters.values import not_quoted

_BEFORE = 60
_AFTER = 24

_CLAUSE_ZH = re.compile(r"[。！？；，、：…\s!?;,:“”\"'‘’「」『』（）()【】\[\]<>《》|*#-]")
_OF_AN_ASSISTANT_ZH = re.compile(r"[你您]|指令|指示|提示|被告知|开发者|官方|OpenAI", re.IGNORECASE)
_YOU_ZH = re.compile(r"[你您](?![们的])")
_DONE_ZH = re.compile(r"^(?:违反|(?:忽略|无视|抛弃|抛开|放弃|绕过|覆盖)了)")
_OTHERS_ZH = (
    r"(?:员工|职工|工人|学生|同事|同学|司机|驾驶员|操作员|人员|人们|有人|(?<!机器)人|某人|孩子|家长|客户|顾客|乘客|用户|黑客|罪犯|供应商"
    r"|承包商|施工队|厂家|商家|公司|企业|部门|团队|单位|机构|政府|领导|经理|主管|老板|老师|医生|护士|患者|玩家|选手|运动员|球员|士兵"
    r"|他们?|她们?|它们|我们|咱们|我方|我司|对方|双方|甲方|乙方|谁|制度|办法|规定|协议|合同|条例|方案|版本?|条款|政策|法规|标准)"
)
_SUBJECT_ZH = re.compile(_OTHERS_ZH + r".{0,8}$")
_NOT_ZH = re.compile(
    r"(?:不[得能可许准应该会要想敢]|没有?|没法|无法|禁止|严禁|防止|避免|切勿|请勿|(?<![特分区级])别(?!人)).{0,8}$"
)
_OF_OTHERS_ZH = re.compile(rf"的(?:{_OTHERS_ZH}|行为|后果|风险|事故|案例|情况|处罚)")

_OF_AN_ASSISTANT_EN = re.compile(
    r"(?i)\b(?:your|system|developer|openai|prompts?|programming|training|instructions?)\b"
)
_WHO_EN = (
    r"(?:who|whoever|they|he|she|people|persons?|anyone|someone|everyone|nobody|staff|personnel|management|teams?"
    r"|employees|workers|drivers|operators|contractors|suppliers|vendors|students|teachers|pupils|children|kids|parents"
    r"|users|customers|clients|colleagues|managers|members|players|patients|doctors|nurses|soldiers|officers|companies)"
)
_HELPS_EN = (
    r"(?:often|sometimes|always|still|also|simply|just|repeatedly|knowingly|deliberately|wilfully|willfully|may|might"
    r"|can|could|will|would|must|should|did|do|does|to|tend|tends|choose|decide|not|never)"
)
_LAST_OF_OTHERS_EN = re.compile(rf"\b(?:{_WHO_EN}|{_HELPS_EN})$")
_LONGEST_LAST_EN = 12
"""Characters of the longest of those words."""
_OTHERS_EN = re.compile(rf"(?i)\b{_WHO_EN}\s+(?:{_HELPS_EN}\s+)*$")
_NOT_EN = re.compile(
    r"(?i)(?:\b(?:must|should|shall|may|can|could|will|would|do|does|did)\s+(?:not|never)|n't|\bcannot|\bnever)\s+$"
)
_LAST_OF_NOT_EN = ("not", "never", "n't")
_FROM_OTHERS_EN = re.compile(
    r"(?i)\s+(?:from|by|of|on|about)\s+(?:the\s+|our\s+|my\s+)?(?:finance|accounting|accounts|controlling|hr"
    r"|human resources|legal|procurement|purchasing|marketing|sales|compliance|engineering|management|headquarters"
    r"|head office|boss|manager|clients?|customers?|vendors?|suppliers?|auditors?|board|committee|council)\b"
)
_ABOUT_THINGS_EN = re.compile(r"(?i)\s+(?:options?|guides?|pages?|screens?|menus?|panels?|wizards?|manuals?)\b")
_ABOUT_THINGS_ZH = re.compile(r"(?:写作|写法|技巧|工程|教程|课程|经验|心得|音|框|窗|铃|截图|截屏)")
_YOUR_THINGS_ZH = re.compile(r"[你您]们?的?(?:部门|公司|团队|单位|学校|电脑|手机|软件|网站|店)")


def commanded_zh(candidate: Candidate) -> int:
    """Measure an order in Chinese to drop rules; none is what others do or did, and what nobody shall do."""
    if _OF_AN_ASSISTANT_ZH.search(candidate.value):
        return not_quoted(candidate)
    clause = _CLAUSE_ZH.split(_before(candidate))[-1]
    if _NOT_ZH.search(clause) or _OF_OTHERS_ZH.match(_after(candidate)):
        return 0
    if _YOU_ZH.search(clause):
        return not_quoted(candidate)
    return 0 if _DONE_ZH.match(candidate.value) or _SUBJECT_ZH.search(clause) else not_quoted(candidate)


def commanded_en(candidate: Candidate) -> int:
    """Measure an order in English to drop rules; none is what others do, what nobody shall do, and what others said."""
    before = _before(candidate)
    # A search for what ends the text tries each place of it; the last word alone tells that it is mostly in vain.
    last = before.rstrip().lower()
    refused = last.endswith(_LAST_OF_NOT_EN) and _NOT_EN.search(before)
    if refused or _FROM_OTHERS_EN.match(_after(candidate)):
        return 0
    told = _LAST_OF_OTHERS_EN.search(last[-_LONGEST_LAST_EN:]) and _OTHERS_EN.search(before)
    return 0 if told and not _OF_AN_ASSISTANT_EN.search(candidate.value) else not_quoted(candidate)


def own_words(candidate: Candidate) -> int:
    """Measure a request for the hidden instructions; none is one for their craft or for other things of that name."""
    after = _after(candidate)
    if _ABOUT_THINGS_EN.match(after) or _ABOUT_THINGS_ZH.match(after) or _YOUR_THINGS_ZH.search(candidate.value):
        return 0
    return not_quoted(candidate)


def _before(candidate: Candidate) -> str:
    return candidate.text[max(0, candidate.start - _BEFORE) : candidate.start]


def _after(candidate: Candidate) -> str:
    return candidate.text[candidate.end : candidate.end + _AFTER]
