"""llama.cpp on random weights of ChatGLM3-6B's shapes: `llama_side.py FOLDER LAYERS ROUNDS THREADS`.

Prints one line of JSON: tokens a second by precision and work. Two slices of different depth are measured, and the
difference extrapolated to 28 layers. It runs in an environment of its own and imports nothing of ours.
"""

import ctypes
import json
import statistics
import sys
import time
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

VOCABULARY, HIDDEN, FFN, HEADS, GROUPS, HEAD = 65024, 4096, 13696, 32, 2, 128
LAYERS = 28
KINDS = {"llama.cpp Q8_0": gguf.GGMLQuantizationType.Q8_0, "llama.cpp Q4_0": gguf.GGMLQuantizationType.Q4_0}
RNG = np.random.default_rng(0)


def blocks(kind, rows, columns):
    """Random blocks as the format has them: a scale in half precision, then the codes."""
    per, size = gguf.GGML_QUANT_SIZES[kind]
    raw = RNG.integers(0, 256, (1024, columns // per, size), dtype=np.uint8)
    raw[..., :2] = np.frombuffer(np.float16(0.0003).tobytes(), dtype=np.uint8)
    raw = np.tile(raw.reshape(1024, -1), (-(-rows // 1024), 1))[:rows]
    return np.ascontiguousarray(raw)


def write(path, kind, layers):
    writer = gguf.GGUFWriter(path, "chatglm")
    writer.add_context_length(8192)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_block_count(layers)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD // 2)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("no_vocab")
    fused = (HEADS + 2 * GROUPS) * HEAD
    matrices = {"token_embd": (VOCABULARY, HIDDEN), "output": (VOCABULARY, HIDDEN)}
    norms = ["output_norm"]
    for layer in range(layers):
        matrices |= {
            f"blk.{layer}.attn_qkv": (fused, HIDDEN),
            f"blk.{layer}.attn_output": (HIDDEN, HIDDEN),
            f"blk.{layer}.ffn_up": (2 * FFN, HIDDEN),
            f"blk.{layer}.ffn_down": (HIDDEN, FFN),
        }
        norms += [f"blk.{layer}.attn_norm", f"blk.{layer}.ffn_norm"]
        writer.add_tensor(f"blk.{layer}.attn_qkv.bias", np.zeros(fused, dtype=np.float32))
    for name in norms:
        writer.add_tensor(f"{name}.weight", np.ones(HIDDEN, dtype=np.float32))
    for name, (rows, columns) in matrices.items():
        writer.add_tensor(f"{name}.weight", blocks(kind, rows, columns), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Side:
    def __init__(self, path, threads):
        parameters = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        context = llama_cpp.llama_context_default_params()
        context.n_ctx, context.n_batch, context.n_ubatch, context.n_seq_max = 8 * 1024, 1024, 512, 8
        context.n_threads = context.n_threads_batch = threads
        context.kv_unified = True
        self.context = llama_cpp.llama_init_from_model(self.model, context)

    def run(self, rows):
        """`rows`: (position, sequence) of each token; logits are computed for the last token of each sequence."""
        batch = llama_cpp.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        last = {sequence: place for place, (_, sequence) in enumerate(rows)}
        for place, (position, sequence) in enumerate(rows):
            batch.token[place], batch.pos[place] = 300 + place % 100, position
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = sequence
            batch.logits[place] = last[sequence] == place
        began = time.perf_counter()
        code = llama_cpp.llama_decode(self.context, batch)
        llama_cpp.llama_synchronize(self.context)
        took = time.perf_counter() - began
        llama_cpp.llama_batch_free(batch)
        if code:
            raise SystemExit(f"llama_decode: {code}")
        return took

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def decode(self, streams):
        self.clear()
        for stream in range(streams):
            self.run([(position, stream) for position in range(64)])
        return statistics.median(self.run([(64 + step, stream) for stream in range(streams)]) for step in range(3))

    def prefill(self, tokens):
        self.clear()
        return self.run([(position, 0) for position in range(tokens)])


def main():
    folder, (layers, rounds, threads) = Path(sys.argv[1]), map(int, sys.argv[2:])
    quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p())
    llama_cpp.llama_backend_init()
    found = {}
    for name, kind in KINDS.items():
        depths = (layers // 2, layers)
        sides = []
        for depth in depths:
            path = folder / f"{kind.name}-{depth}.gguf"
            if not path.exists():
                write(path, kind, depth)
            sides.append(Side(path, threads))
        found[name] = {}
        work = {f"decode {n}": (n, "decode") for n in (1, 8)} | {f"prefill {n}": (n, "prefill") for n in (512, 1024)}
        for label, (count, what) in work.items():
            each = []
            for _ in range(rounds):
                short, long = (getattr(side, what)(count) for side in sides)
                a_layer = (long - short) / (depths[1] - depths[0])
                each.append(count / (long + (LAYERS - layers) * a_layer))
            found[name][label] = statistics.median(each)
        found[name]["eight over one"] = found[name]["decode 8"] / found[name]["decode 1"]
        for side in sides:
            llama_cpp.llama_free(side.context)
            llama_cpp.llama_model_free(side.model)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
