"""What the demo model reads besides our own dialogues: plain text for fluency, prompts for fallback and refusal.

The files come from `--data` and are never committed. Only the sources named here are read from the labelled rows, each
under permissive terms (Apache-2.0, MIT, CC0, CC BY, ODC-BY).
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

TRAIN, DEV = "train", "dev"
"""Splits of the labelled rows: files `<split>.jsonl.gz`."""
PLAIN_CHINESE = "unlabelled_zh.txt.gz"

FLUENCY_SOURCES = frozenset(
    {
        "Caia-Tech/caia-ai-safety",
        "abachaa/MedQuAD",
        "allenai/noncompliance (CoCoNot)",
        "f/awesome-chatgpt-prompts",
        "hiyouga/LLaMA-Factory",
        "teknium1/GPTeacher (Codegen)",
        "teknium1/GPTeacher via gururise/AlpacaDataCleaned",
        "yizhongw/self-instruct",
    }
)
"""Labelled sources whose benign rows are also read as plain text."""

PROMPT_SOURCES = frozenset(
    {
        "AndrewZhe/lawyer-llama",
        "OpenLMLab/GAOKAO-Bench",
        "OpenMOSS/HalluQA",
        "PolyAI-LDN/task-specific-datasets",
        "SCIR-HI/Huatuo-Llama-Med-Chinese",
        "abachaa/MedQuAD",
        "hiyouga/LLaMA-Factory",
        "meta-llama/PurpleLlama",
        "openai/grade-school-math via gururise/AlpacaDataCleaned",
        "shibing624/MedicalGPT",
        "teknium1/GPTeacher (Codegen)",
        "teknium1/GPTeacher via gururise/AlpacaDataCleaned",
        "thu-coai/CrossWOZ",
    }
)
"""Labelled sources whose benign prompts are answered by the honest fallback. Small-talk sets are left out: their
questions are the ones that the dialogues answer."""

REFUSED_SOURCES = frozenset(
    {
        "DAMO-NLP-SG/multilingual-safety-for-LLMs",
        "Jarviswang94/Multilingual_safety_benchmark",
        "RobustNLP/DeRTa",
        "declare-lab/red-instruct",
        "mlcommons/ailuminate",
        "thu-coai/AISafetyLab",
        "whitzard-ai/jade-db",
    }
)
"""Labelled sources whose harmful prompts are answered by a short refusal."""

SHORTEST_TEXT, LONGEST_TEXT = 24, 2000
SHORTEST_PROMPT, LONGEST_PROMPT = 4, 140


class Row(msgspec.Struct, frozen=True):
    """One labelled row of the harm data."""

    text: str
    lang: str
    role: str
    source: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """Texts by language ("zh", "en")."""

    fluency: dict[str, list[str]] = field(default_factory=lambda: {"zh": [], "en": []})
    benign: dict[str, list[str]] = field(default_factory=lambda: {"zh": [], "en": []})
    harmful: dict[str, list[str]] = field(default_factory=lambda: {"zh": [], "en": []})


def _rows(path: Path) -> Iterator[Row]:
    decode = msgspec.json.Decoder(Row).decode
    with gzip.open(path, "rb") as lines:
        for line in lines:
            yield decode(line)


def read_corpus(folder: Path, split: str = TRAIN) -> Corpus:
    """Read what training needs from the harm data in `folder`; raises `FileNotFoundError` naming the missing file."""
    corpus = Corpus()
    for row in _rows(folder / f"{split}.jsonl.gz"):
        short = SHORTEST_PROMPT <= len(row.text) <= LONGEST_PROMPT
        if row.labels:
            if row.role == "prompt" and short and row.source in REFUSED_SOURCES:
                corpus.harmful[row.lang].append(row.text)
            continue
        if row.role == "prompt" and short and row.source in PROMPT_SOURCES:
            corpus.benign[row.lang].append(row.text)
        if row.source in FLUENCY_SOURCES and SHORTEST_TEXT <= len(row.text) <= LONGEST_TEXT:
            corpus.fluency[row.lang].append(row.text)
    with gzip.open(folder / PLAIN_CHINESE, "rt", encoding="utf-8") as lines:
        corpus.fluency["zh"].extend(
            text for text in map(str.strip, lines) if SHORTEST_TEXT <= len(text) <= LONGEST_TEXT
        )
    return corpus
