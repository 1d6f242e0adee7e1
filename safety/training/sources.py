"""What each source of the training folder is worth: left out, weighted, or trusted only in part.

`PRESENTATIONS` says how often a row of a cell is shown over a whole run; the README says why.
"""

from safety.verdict import Category

LEFT_OUT = {
    "qiuhuachuan/smile": "made from PsyQA, whose own terms allow research only",
    "shibing624/MedicalGPT (ShareGPT-zh)": "chats shared by users, origin and licence unclear",
}
"""Sources whose licence we would not defend, and why."""

GUESSED_CLASS = frozenset(
    {
        "AdvBench via busycalibrating/AdversariaLLM",
        "DAMO-NLP-SG/multilingual-safety-for-LLMs",
        "HarmBench adv-training via busycalibrating/AdversariaLLM",
        "RobustNLP/DeRTa",
        "sherdencooper/GPTFuzz",
        "TDC2023 via busycalibrating/AdversariaLLM",
        "thu-coai/AISafetyLab",
        "declare-lab/red-instruct",
    }
)
"""Harmful or not comes from the source, the class from words: the label heads learn less from these rows."""

NOISY = frozenset(
    {
        "sherdencooper/GPTFuzz",
        "qiuhuachuan/CensorChat",
        "nbertagnolli/counsel-chat",
        "Caia-Tech/caia-ai-safety",
        "thu-coai/DiaSafety (contexts)",
        "whitzard-ai/jade-db",
        "thu-coai/DiaSafety",
        "gunthercox/chatterbot-corpus",
    }
)
"""The harmful bit itself comes from a word list or from the question that is answered; or taunts count as harmless."""

SOURCE_PRESENTATIONS = {
    "thu-coai/COLDataset": 2.2,
    "aggiejiang/SWSR": 1.0,
    "zjunlp/ChineseHarm-bench": 1.2,
    "qiuhuachuan/PsyGUARD": 1.6,
    "JimmyMa99/TeleAntiFraud": 0.8,
    "thu-coai/CrossWOZ": 0.8,
    "thu-coai/KdConv": 0.8,
    "OpenLMLab/GAOKAO-Bench": 0.4,
    "ucberkeley-dlab/measuring-hate-speech via paul-rottger/efficient-low-resource-hate-detection": 0.7,
    "rewire-online/edos": 0.6,
    "HannahKirk/Hatemoji": 2.5,
    "t-davidson/hate-speech-and-offensive-language": 0.6,
    "Vicomtech/hate-speech-dataset": 0.8,
    "yizhongw/self-instruct (P3/T0)": 0.4,
    "PolyAI-LDN/task-specific-datasets": 0.6,
    "clinc/oos-eval": 0.7,
    "standardebooks (nine public-domain books)": 0.4,
    "nbertagnolli/counsel-chat": 0.4,
    "Caia-Tech/caia-ai-safety": 0.5,
    "abachaa/MedQuAD": 0.5,
    "openai/grade-school-math via gururise/AlpacaDataCleaned": 0.5,
    "allenai/noncompliance (CoCoNot)": 3.0,
    "sherdencooper/GPTFuzz": 0.7,
    "conversationai/unintended-ml-bias-analysis": 1.3,
    "jackhhao/llm-warden (benign half)": 1.5,
    "meta-llama/PurpleLlama": 2.0,
    "microsoft/TOXIGEN": 3.0,
    "microsoft/AGIEval": 0.5,
    "f/awesome-chatgpt-prompts": 0.7,
    "STAIR-BUPT/JailBench": 0.5,
    "LawRefBook/Laws (statute text)": 0.5,
    "AndrewZhe/lawyer-llama": 0.8,
}
"""How often a row of these sources is shown over a whole run; every other source counts 1."""

REFUSALS = {"sherdencooper/GPTFuzz": 4.0, "whitzard-ai/jade-db": 2.0}
"""Factor for the harmless rows of sources of answers: refusals that name what they refuse."""

ROLE_PRESENTATIONS = {
    ("zh", "prompt", True): 3.5,
    ("zh", "response", True): 3.0,
    ("zh", "post", True): 1.0,
    ("zh", "prompt", False): 1.4,
    ("zh", "response", False): 0.8,
    ("zh", "post", False): 1.0,
    ("en", "prompt", True): 3.5,
    ("en", "response", True): 1.4,
    ("en", "post", True): 1.0,
    ("en", "prompt", False): 1.2,
    ("en", "response", False): 0.8,
    ("en", "post", False): 1.0,
}
"""Factor by language, role and harmful."""

LABEL_PRESENTATIONS = {
    ("zh", Category.SELF_HARM): 2.5,
    ("zh", Category.VIOLENCE): 1.3,
    ("zh", Category.PRIVACY): 1.2,
    ("zh", Category.SEXUAL): 1.2,
    ("en", Category.SELF_HARM): 3.0,
    ("en", Category.SEXUAL): 2.0,
    ("en", Category.VIOLENCE): 1.3,
    ("en", Category.PRIVACY): 1.3,
    ("en", Category.PROMPT_ATTACK): 1.7,
}
"""Factor for rows with a rare label; the largest of a row's labels counts."""

TRIGGER = (
    r"\b(?:ignor\w+|kill\w*|shoot\w*|bombs?|attack\w*|hack\w*|inject\w*|bypass\w*|jailbreak|prompts?|murder\w*|drugs?"
    r"|weapons?|suicid\w+|sex\w*|steal\w*|exploit\w*|terminat\w+|destroy\w*|password\w*|instructions?|pretend|poison\w*)\b"
    r"|忽略|杀|炸|攻击|黑客|注入|绕过|越狱|提示词|毒|武器|自杀|性|偷|密码|指令|假装|破解|枪|死"
)
"""Words that look like harm: benign prompts and answers with one are shown more often."""
TRIGGER_PRESENTATIONS = 2.5
FINISHING = {"prompt": 0.55, "post": 0.45, "response": 0.3, "seeds": 0.7}
"""Factor by role, and for our own examples, in the rounds of a run's last part: short rounds, mostly of requests."""
SEEDS = "seeds"
"""Source of our own examples."""
SEED_PRESENTATIONS = 4.0
SEED_FILES = {
    "zh_fifth": 12.0,
    "zh_sixth": 10.0,
    "en_sixth": 10.0,
    "zh_seventh": 12.0,
    "en_seventh": 12.0,
    "zh_eighth": 12.0,
    "en_eighth": 12.0,
    "zh_ninth": 12.0,
    "en_ninth": 12.0,
    "zh_tenth": 12.0,
    "en_tenth": 12.0,
    "zh_eleventh": 12.0,
    "en_eleventh": 12.0,
    "zh_twelfth": 12.0,
    "en_twelfth": 12.0,
    "zh_thirteenth": 24.0,
    "zh_fourteenth": 24.0,
    "zh_conversations": 12.0,
}
"""By the beginning of a file's name, instead: what the data shows otherwise (`zh_fifth`), and the latest rounds."""
SEEDS_HELD_OUT = 10
"""One of our own examples in so many, chosen by the hash of its text, is never trained on: it joins dev."""
