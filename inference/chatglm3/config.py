"""The published `config.json` of a ChatGLM3 checkpoint → transformers' GlmConfig, every field set.

GlmConfig's own defaults are GLM-4's (epsilon, head size, end ids), so nothing is left to them.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from transformers import GlmConfig

from inference.chatglm3.layout import Shapes, published_shapes
from inference.quant.plan import Quantisation

ROTARY_BASE = 10_000.0
ROTARY_FRACTION = 0.5
_LARGEST_CONFIG = 1 << 20

Layers = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Heads = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Size = Annotated[int, msgspec.Meta(ge=1, le=2**20)]
Context = Annotated[int, msgspec.Meta(ge=1, le=2**24)]
# Far above any published model, and small enough that naming every tensor of a hostile configuration costs nothing.


class ConfigError(Exception):
    """`config.json` is missing, damaged or describes another architecture; the message names the key."""


class Published(msgspec.Struct, frozen=True):
    """The keys of the published configuration that decide how the model computes."""

    padded_vocab_size: Size
    hidden_size: Size
    ffn_hidden_size: Size
    num_layers: Layers
    num_attention_heads: Heads
    multi_query_group_num: Heads
    kv_channels: Heads
    seq_length: Context
    layernorm_epsilon: Annotated[float, msgspec.Meta(gt=0)] = 1e-5
    rope_ratio: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    add_qkv_bias: bool = True
    add_bias_linear: bool = False
    multi_query_attention: bool = True
    post_layer_norm: bool = True
    rmsnorm: bool = True
    original_rope: bool = True
    apply_residual_connection_post_layernorm: bool = False
    tie_word_embeddings: bool = False
    model_type: str = "chatglm"
    torch_dtype: str = "float16"
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    quantization_config: Quantisation | None = None
    """In a folder that `attest inference quantise` wrote; any other kind of quantisation is refused."""

    @property
    def parameters(self) -> int:
        """How many numbers the model has been trained to."""
        return sum(math.prod(shape) for shape in published_shapes(self.shapes).values())

    @property
    def shapes(self) -> Shapes:
        """The sizes that decide every tensor's shape."""
        return Shapes(
            vocab=self.padded_vocab_size,
            hidden=self.hidden_size,
            ffn=self.ffn_hidden_size,
            layers=self.num_layers,
            heads=self.num_attention_heads,
            groups=self.multi_query_group_num,
            head_dim=self.kv_channels,
            qkv_bias=self.add_qkv_bias,
        )


@dataclass(frozen=True)
class _Fixed:
    key: str
    value: object


_FIXED = (
    _Fixed("add_bias_linear", value=False),
    _Fixed("multi_query_attention", value=True),
    _Fixed("post_layer_norm", value=True),
    _Fixed("rmsnorm", value=True),
    _Fixed("original_rope", value=True),
    _Fixed("apply_residual_connection_post_layernorm", value=False),
    _Fixed("tie_word_embeddings", value=False),
    _Fixed("model_type", value="chatglm"),
)
"""What ChatGLM3 has in common with no exception; another value is another architecture, so it is refused."""


def read_published(folder: Path) -> Published:
    """Read and check `config.json`; raise `ConfigError` that names the file or the key."""
    path = folder / "config.json"
    published = _decoded(path)
    for fixed in _FIXED:
        if getattr(published, fixed.key) != fixed.value:
            raise ConfigError(f"{path}: {fixed.key} must be {fixed.value!r} for ChatGLM3")
    if published.num_attention_heads % published.multi_query_group_num:
        raise ConfigError(f"{path}: num_attention_heads must be a multiple of multi_query_group_num")
    if published.kv_channels % 4:
        raise ConfigError(f"{path}: kv_channels must be a multiple of 4 (half of it is rotated, in pairs)")
    if abs(published.pad_token_id or 0) >= published.padded_vocab_size:
        raise ConfigError(f"{path}: pad_token_id must be null or below padded_vocab_size")
    return published


def _decoded(path: Path) -> Published:
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise ConfigError(f"{path} is larger than {_LARGEST_CONFIG} bytes")
        if not path.is_file():
            raise ConfigError(f"{path} is no regular file")
        return msgspec.json.decode(path.read_bytes(), type=Published)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply") from None


def to_glm(published: Published, stop_ids: tuple[int, ...]) -> GlmConfig:
    """Return the GlmConfig that computes exactly what the published configuration describes."""
    return GlmConfig(
        vocab_size=published.padded_vocab_size,
        hidden_size=published.hidden_size,
        intermediate_size=published.ffn_hidden_size,
        num_hidden_layers=published.num_layers,
        num_attention_heads=published.num_attention_heads,
        num_key_value_heads=published.multi_query_group_num,
        head_dim=published.kv_channels,
        hidden_act="silu",
        attention_dropout=0.0,
        max_position_embeddings=published.seq_length,
        initializer_range=0.02,
        rms_norm_eps=published.layernorm_epsilon,
        use_cache=True,
        tie_word_embeddings=False,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": ROTARY_BASE * published.rope_ratio,
            "partial_rotary_factor": ROTARY_FRACTION,
        },
        pad_token_id=published.pad_token_id if published.pad_token_id is not None else 0,
        eos_token_id=list(stop_ids),
        bos_token_id=None,
        attention_bias=published.add_qkv_bias,
    )


def from_glm(config: GlmConfig, *, dtype: str) -> dict[str, Any]:
    """Return the published `config.json` of a GlmForCausalLM that keeps ChatGLM3's architecture (for exporters)."""
    rope: dict[str, Any] = dict(config.rope_parameters or {})
    return {
        "model_type": "chatglm",
        "architectures": ["ChatGLMModel"],
        "add_bias_linear": False,
        "add_qkv_bias": config.attention_bias,
        "apply_residual_connection_post_layernorm": False,
        "ffn_hidden_size": config.intermediate_size,
        "hidden_size": config.hidden_size,
        "kv_channels": config.head_dim,
        "layernorm_epsilon": config.rms_norm_eps,
        "multi_query_attention": True,
        "multi_query_group_num": config.num_key_value_heads,
        "num_attention_heads": config.num_attention_heads,
        "num_layers": config.num_hidden_layers,
        "original_rope": True,
        "padded_vocab_size": config.vocab_size,
        "post_layer_norm": True,
        "rmsnorm": True,
        "rope_ratio": rope["rope_theta"] / ROTARY_BASE,
        "seq_length": config.max_position_embeddings,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
