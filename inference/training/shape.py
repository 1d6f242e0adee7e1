"""The demo model's size: ChatGLM3's architecture, small enough to ship (about 8 million parameters, 17 MB in fp16)."""

from transformers import GlmForCausalLM

from inference.chatglm3.config import Published, to_glm

SHAPE = Published(
    padded_vocab_size=8192,
    hidden_size=256,
    ffn_hidden_size=688,
    num_layers=6,
    num_attention_heads=8,
    multi_query_group_num=2,
    kv_channels=32,
    seq_length=2048,
)


def new_model(stop_ids: tuple[int, ...]) -> GlmForCausalLM:
    """Return a freshly initialised model of this shape (seed torch before)."""
    return GlmForCausalLM(to_glm(SHAPE, stop_ids))
