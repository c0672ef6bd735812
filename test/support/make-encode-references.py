"""Prints test/native/encode_references.h: the error of the format's reference quantiser on the test's own numbers.

The reference is ggml_quantize_chunk of llama.cpp without an importance matrix, from a shared library; values are read back
by the `gguf` Python package. Run with a Python that has numpy and gguf:

  python test/support/make-encode-references.py path/to/libggml-base.so > test/native/encode_references.h
"""
import ctypes
import sys

import numpy as np
from gguf import GGMLQuantizationType as T, quants

TYPES = [
    "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS",
]
OPTIONAL = ["TQ1_0", "TQ2_0", "MXFP4"]
N = 64 * 256
SETS = ["normal", "heavy", "uniform", "positive", "uneven", "offset"]


class Numbers:
    """The generator of test/native/encode_test.cc: whole numbers of 24 bits, so that both make the same floats."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return self.state >> 40

    def unit(self):
        return self.next() / 2**24

    def normal(self):
        return sum(self.next() for _ in range(12)) / 2**24 - 6.0


def value(kind, i, numbers, state):
    if kind == "normal":
        return 0.02 * numbers.normal()
    if kind == "heavy":
        n = numbers.normal()
        return 0.02 * n * n * n
    if kind == "uniform":
        return 0.1 * (numbers.unit() - 0.5)
    if kind == "positive":
        return 0.05 + 0.01 * numbers.normal()
    if kind == "uneven":
        if i % 16 == 0:
            state["scale"] = 0.001 * 2.0 ** (numbers.next() % 6)
        return state["scale"] * numbers.normal()
    return -0.5 + 0.02 * numbers.normal()


def make(kind):
    numbers, state = Numbers(SETS.index(kind) + 1), {}
    return np.array([value(kind, i, numbers, state) for i in range(N)], dtype=np.float32)


def reference_error(quantize, name, x):
    rows = x.reshape(-1, 256)
    out = np.zeros(x.size * 4, np.uint8)
    size = quantize(int(T[name]), rows.ctypes.data, out.ctypes.data, 0, rows.shape[0], 256, None)
    found = quants.dequantize(out[:size].reshape(rows.shape[0], -1), T[name]).astype(np.float64)
    exact = rows.astype(np.float64)
    return float(np.sqrt(((exact - found) ** 2).sum() / (exact**2).sum()))


quantize = ctypes.CDLL(sys.argv[1]).ggml_quantize_chunk
quantize.restype = ctypes.c_size_t
quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
sets = {kind: make(kind) for kind in SETS}
print("// Written by test/support/make-encode-references.py: relative root mean square errors of the format's reference")
print("// quantiser on the sets of encode_test.cc.")
print("#pragma once\n\nstruct EncodeReference {\n  const char* type;")
print(f"  double errors[{len(SETS)}];\n}};\n")
print(f"constexpr const char* kSetNames[] = {{{', '.join(chr(34) + kind + chr(34) for kind in SETS)}}};\n")
print("constexpr EncodeReference kEncodeReferences[] = {")
for name in TYPES + OPTIONAL:
    errors = ", ".join(f"{reference_error(quantize, name, sets[kind]):.7g}" for kind in SETS)
    print(f'    {{"{name}", {{{errors}}}}},')
print("};")
