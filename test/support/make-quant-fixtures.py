"""Writes test/fixtures/quant/<TYPE>.bin: random GGUF rows and the floats the `gguf` Python package reads from them.

Layout, little-endian: u32 k, u32 row_bytes, row_bytes bytes of one GGUF row, k float32.
Blocks cycle through random codes, all bits set and all bits clear; scales are random but finite, with zeros and
subnormals among them. Run from the repository root with a Python that has numpy and gguf.
"""
import struct
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as T, quants
from gguf.constants import GGML_QUANT_SIZES

# Byte offsets of a block's fp16 fields.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0], "Q2_K": [80, 82],
    "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_XS": [0],
    "TQ1_0": [52], "TQ2_0": [64], "MXFP4": [],
}
K = 768
OUT = Path("test/fixtures/quant")


def random_halves(rng, count):
    halves = (rng.standard_normal(count) * 0.05).astype(np.float16).view(np.uint16)
    pick = rng.integers(0, 12, count)
    halves = np.where(pick == 0, np.uint16(0), halves)
    halves = np.where(pick == 1, rng.integers(1, 0x400, count).astype(np.uint16), halves)
    halves = np.where(pick == 2, rng.integers(0, 0x7C00, count).astype(np.uint16) | np.uint16(0x8000), halves)
    return halves.astype("<u2")


def row_of(name, rng):
    if name == "F32":
        return (rng.standard_normal(K) * np.exp(rng.uniform(-20, 20, K))).astype("<f4").view(np.uint8)
    if name == "F16":
        return random_halves(rng, K).view(np.uint8)
    if name == "BF16":
        return (rng.standard_normal(K).astype("<f4").view(np.uint32) >> 16).astype("<u2").view(np.uint8)
    elements, size = GGML_QUANT_SIZES[T[name]]
    blocks = rng.integers(0, 256, (K // elements, size)).astype(np.uint8)
    blocks[1::3] = 255
    blocks[2::3] = 0
    for at in HALVES[name]:
        blocks[:, at:at + 2] = random_halves(rng, len(blocks)).view(np.uint8).reshape(-1, 2)
    if name == "MXFP4":  # powers of two from the subnormal 2^-128 to the last under which no code is infinite
        blocks[:, 0] = np.resize([0, 1, 2, 3, 127, 252, 60, 125, 130, 119], len(blocks))
    return blocks.reshape(-1)


OUT.mkdir(parents=True, exist_ok=True)
for name in ["F32", "F16", "BF16", *HALVES]:
    row = np.ascontiguousarray(row_of(name, np.random.default_rng(int(T[name]) + 1)))
    values = quants.dequantize(row.reshape(1, -1), T[name]).reshape(-1).astype("<f4")
    assert values.size == K and np.isfinite(values).all()
    (OUT / f"{name}.bin").write_bytes(struct.pack("<II", K, row.size) + row.tobytes() + values.tobytes())
