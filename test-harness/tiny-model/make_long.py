"""Write a random-weight model that can talk for as long as it is asked to.

    python3 make_long.py --out target/long.gguf [--seed 1]

haiku-tiny ends after three lines and knows 512 tokens of context, so tests that
interrupt a stream need something else: this model has a context of 32,768 and
an end token that it never chooses.  Its text is noise of printable ASCII and
newlines.  Only the standard library is used, and equal seeds give equal files.

How the end token is kept out: every embedding carries a constant in its first
dimension, no layer writes to that dimension, and the output matrix turns it into a
logit far below all others for the end token alone.
"""

from __future__ import annotations

import argparse
import array
import pathlib
import random
import struct
import sys

CONTEXT = 32_768
DIM = 256
LAYERS = 4
HEADS = 4
HEAD_DIM = DIM // HEADS
FFN = 1_024
END = "<end>"

# Types of the GGUF format.
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5
TENSOR_F32 = 0
NORMAL_TOKEN, CONTROL_TOKEN = 1, 3
ALIGNMENT = 32


def vocabulary() -> list[str]:
    """Newline, space and the other printable characters as byte-level BPE writes them."""
    return ["\u010a", "\u0120"] + [chr(code) for code in range(33, 127)] + [END]


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def scalar(kind: int, value) -> bytes:
    if kind == STRING:
        return text(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def metadata(tokens: list[str]) -> bytes:
    end = tokens.index(END)
    single = [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, "long-noise"),
        ("general.file_type", U32, 0),
        ("llama.context_length", U32, CONTEXT),
        ("llama.embedding_length", U32, DIM),
        ("llama.block_count", U32, LAYERS),
        ("llama.feed_forward_length", U32, FFN),
        ("llama.attention.head_count", U32, HEADS),
        ("llama.attention.head_count_kv", U32, 1),
        ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        ("llama.rope.dimension_count", U32, HEAD_DIM),
        ("llama.vocab_size", U32, len(tokens)),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "gpt-2"),
        ("tokenizer.ggml.bos_token_id", U32, end),
        ("tokenizer.ggml.eos_token_id", U32, end),
        ("tokenizer.ggml.add_bos_token", BOOL, False),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
        ("tokenizer.chat_template", STRING, "{{ messages[-1]['content'] }}"),
    ]
    types = [CONTROL_TOKEN if token == END else NORMAL_TOKEN for token in tokens]
    lists = [
        ("tokenizer.ggml.tokens", STRING, tokens),
        ("tokenizer.ggml.token_type", I32, types),
        ("tokenizer.ggml.merges", STRING, []),
    ]
    parts = [struct.pack("<Q", len(single) + len(lists))]
    parts += [text(key) + struct.pack("<I", kind) + scalar(kind, value) for key, kind, value in single]
    for key, kind, values in lists:
        parts.append(text(key) + struct.pack("<IIQ", ARRAY, kind, len(values)))
        parts += [scalar(kind, value) for value in values]
    return b"".join(parts)


def tensors(tokens: list[str], rng: random.Random):
    """Yields (name, shape as GGUF orders it, values)."""

    def matrix(columns: int, rows: int, scale: float, first_row: float | None = None):
        draw, width = rng.random, 2 * scale * (3 / columns) ** 0.5
        values = array.array("f", [(draw() - 0.5) * width for _ in range(columns * rows)])
        if first_row is not None:
            values[:columns] = array.array("f", [first_row] * columns)
        return (columns, rows), values

    def column(shape_values, index: int, entries: list[float]):
        (columns, rows), values = shape_values
        for row in range(rows):
            values[row * columns + index] = entries[row]
        return (columns, rows), values

    ones = (DIM,), array.array("f", [1.0] * DIM)
    yield "token_embd.weight", *column(matrix(DIM, len(tokens), 16.0), 0, [1.0] * len(tokens))
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        yield name + "attn_norm.weight", *ones
        yield name + "attn_q.weight", *matrix(DIM, DIM, 1.0)
        yield name + "attn_k.weight", *matrix(DIM, HEAD_DIM, 1.0)
        yield name + "attn_v.weight", *matrix(DIM, HEAD_DIM, 1.0)
        yield name + "attn_output.weight", *matrix(DIM, DIM, 1.0, first_row=0.0)
        yield name + "ffn_norm.weight", *ones
        yield name + "ffn_gate.weight", *matrix(DIM, FFN, 1.0)
        yield name + "ffn_up.weight", *matrix(DIM, FFN, 1.0)
        yield name + "ffn_down.weight", *matrix(FFN, DIM, 1.0, first_row=0.0)
    yield "output_norm.weight", *ones
    never = [-10_000.0 if token == END else 0.0 for token in tokens]
    yield "output.weight", *column(matrix(DIM, len(tokens), 1.5), 0, never)


def write(out: pathlib.Path, seed: int) -> None:
    tokens = vocabulary()
    made = list(tensors(tokens, random.Random(seed)))
    infos, offset = [], 0
    for name, shape, values in made:
        info = text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        infos.append(info + struct.pack("<IQ", TENSOR_F32, offset))
        offset += -(-len(values) * 4 // ALIGNMENT) * ALIGNMENT
    head = b"GGUF" + struct.pack("<IQ", 3, len(made)) + metadata(tokens) + b"".join(infos)
    out.parent.mkdir(parents=True, exist_ok=True)
    # A reader never sees half a file.
    partial = out.with_name(out.name + ".partial")
    with partial.open("wb") as file:
        file.write(head + b"\0" * (-len(head) % ALIGNMENT))
        for _, _, values in made:
            if sys.byteorder == "big":
                values.byteswap()
            data = values.tobytes()
            file.write(data + b"\0" * (-len(data) % ALIGNMENT))
    partial.replace(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    write(args.out, args.seed)


if __name__ == "__main__":
    main()
