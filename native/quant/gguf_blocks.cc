// GGUF blocks to codes, and codes to floats. Bit layouts and the order of float operations follow the format's
// reference reader, the `gguf` Python package (quants.py), so that values agree bit for bit.
#include <cstdint>
#include <cstring>

#include "quant/block_codes.h"
#include "quant/half.h"

namespace lutra::quant {

namespace {

using base::TensorType;

constexpr uint64_t kEachByte = 0x0101010101010101ull;

/// codes[i] = (bytes[i] >> shift) & mask for n bytes (a multiple of 8), eight at a time.
void take_bits(const uint8_t* bytes, int n, int shift, uint64_t mask, uint8_t* codes) {
  for (int i = 0; i < n; i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes + i, 8);
    word = (word >> shift) & (mask * kEachByte);
    std::memcpy(codes + i, &word, 8);
  }
}

/// codes[i] |= ((bytes[i] >> shift) & mask) << to
void add_bits(const uint8_t* bytes, int n, int shift, uint64_t mask, int to, uint8_t* codes) {
  for (int i = 0; i < n; i += 8) {
    uint64_t word, code;
    std::memcpy(&word, bytes + i, 8);
    std::memcpy(&code, codes + i, 8);
    code |= ((word >> shift) & (mask * kEachByte)) << to;
    std::memcpy(codes + i, &code, 8);
  }
}

void read_nibbles_32(const uint8_t* qs, uint8_t* codes) {
  take_bits(qs, 16, 0, 15, codes);
  take_bits(qs, 16, 4, 15, codes + 16);
}

/// Bit i of qh becomes bit 4 of codes[i]. Eight copies of a byte, each masked to one bit: adding 127 carries into bit 7
/// when that bit is set.
void add_fifth_bits_32(const uint8_t* qh, uint8_t* codes) {
  for (int i = 0; i < 4; ++i) {
    const uint64_t single = (qh[i] * kEachByte) & 0x8040201008040201ull;
    const uint64_t bits = ((single + 127 * kEachByte) >> 7) & kEachByte;
    uint64_t code;
    std::memcpy(&code, codes + 8 * i, 8);
    code |= bits << 4;
    std::memcpy(codes + 8 * i, &code, 8);
  }
}

/// Q4_K and Q5_K: eight 6-bit scales and eight 6-bit mins in 12 bytes.
void read_scales_mins(const uint8_t* packed, BlockCodes& out) {
  for (int i = 0; i < 4; ++i) {
    const uint8_t s = packed[i], m = packed[4 + i], both = packed[8 + i];
    out.scales[i] = s & 63;
    out.mins[i] = m & 63;
    out.scales[4 + i] = static_cast<uint8_t>((both & 15) | ((s >> 2) & 48));
    out.mins[4 + i] = static_cast<uint8_t>((both >> 4) | ((m >> 2) & 48));
  }
}

void read_q2_k(const uint8_t* block, BlockCodes& out) {
  std::memcpy(out.scales, block, 16);
  const uint8_t* qs = block + 16;
  for (int s = 0; s < 8; ++s) take_bits(qs + 32 * (s / 4), 32, 2 * (s % 4), 3, out.codes + 32 * s);
  out.d = load_u16(block + 80);
  out.m = load_u16(block + 82);
}

void read_q3_k(const uint8_t* block, BlockCodes& out) {
  const uint8_t* hmask = block;
  const uint8_t* qs = block + 32;
  const uint8_t* scales = block + 96;
  for (int s = 0; s < 8; ++s) {
    take_bits(qs + 32 * (s / 4), 32, 2 * (s % 4), 3, out.codes + 32 * s);
    add_bits(hmask, 32, s, 1, 2, out.codes + 32 * s);
  }
  for (int i = 0; i < 16; ++i) {
    const int low = (scales[i & 7] >> (4 * (i >> 3))) & 15;
    const int high = (scales[8 + (i & 3)] >> (2 * (i >> 2))) & 3;
    out.scales[i] = static_cast<uint8_t>((low | (high << 4)) - 32);
  }
  out.d = load_u16(block + 108);
}

void read_q4_k(const uint8_t* block, const uint8_t* qs, BlockCodes& out) {
  out.d = load_u16(block);
  out.m = load_u16(block + 2);
  read_scales_mins(block + 4, out);
  for (int s = 0; s < 8; ++s) take_bits(qs + 32 * (s / 2), 32, 4 * (s % 2), 15, out.codes + 32 * s);
}

void read_q6_k(const uint8_t* block, BlockCodes& out) {
  const uint8_t* ql = block;
  const uint8_t* qh = block + 128;
  for (int half = 0; half < 2; ++half) {
    uint8_t* codes = out.codes + 128 * half;
    take_bits(ql + 64 * half, 64, 0, 15, codes);
    take_bits(ql + 64 * half, 64, 4, 15, codes + 64);
    for (int s = 0; s < 4; ++s) add_bits(qh + 32 * half, 32, 2 * s, 3, 4, codes + 32 * s);
  }
  std::memcpy(out.scales, block + 192, 16);
  out.d = load_u16(block + 208);
}

void read_iq4_xs(const uint8_t* block, BlockCodes& out) {
  out.d = load_u16(block);
  const uint16_t scales_high = load_u16(block + 2);
  for (int i = 0; i < 8; ++i) {
    const int low = (block[4 + i / 2] >> (4 * (i & 1))) & 15;
    const int high = (scales_high >> (2 * i)) & 3;
    out.scales[i] = static_cast<uint8_t>((low | (high << 4)) - 32);
    read_nibbles_32(block + 8 + 16 * i, out.codes + 32 * i);
  }
}

/// Four base-3 digits of each of n bytes, or five: the byte holds them as a fraction in [0, 1) of 256 steps, and each
/// multiplication by 3 carries the next one out.
void read_digits(const uint8_t* bytes, int n, int n_digits, uint8_t* codes) {
  for (int i = 0; i < n; ++i) {
    uint8_t rest = bytes[i];
    for (int digit = 0; digit < n_digits; ++digit) {
      const int product = rest * 3;
      codes[digit * n + i] = static_cast<uint8_t>(product >> 8);
      rest = static_cast<uint8_t>(product);
    }
  }
}

void read_tq1_0(const uint8_t* block, BlockCodes& out) {
  read_digits(block, 32, 5, out.codes);
  read_digits(block + 32, 16, 5, out.codes + 160);
  read_digits(block + 48, 4, 4, out.codes + 240);
  out.d = load_u16(block + 52);
}

void read_tq2_0(const uint8_t* block, BlockCodes& out) {
  for (int s = 0; s < 8; ++s) take_bits(block + 32 * (s / 4), 32, 2 * (s % 4), 3, out.codes + 32 * s);
  out.d = load_u16(block + 64);
}

float signed_byte(uint8_t byte) { return static_cast<float>(static_cast<int8_t>(byte)); }

void scaled_values(float d, const uint8_t* codes, int zero, int n, float* out) {
  for (int i = 0; i < n; ++i) out[i] = d * static_cast<float>(static_cast<int>(codes[i]) - zero);
}

void offset_values(float d, float m, const uint8_t* codes, int n, float* out) {
  for (int i = 0; i < n; ++i) {
    const float product = d * static_cast<float>(codes[i]);
    out[i] = product + m;
  }
}

void table_values(float d, const uint8_t* codes, const int8_t* values, float* out) {
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(values[codes[i]]);
}

}  // namespace

void read_gguf_block(TensorType type, const uint8_t* block, BlockCodes& out) {
  out.m = 0;
  switch (type) {
    case TensorType::Q4_0:
    case TensorType::IQ4_NL:
      out.d = load_u16(block);
      read_nibbles_32(block + 2, out.codes);
      return;
    case TensorType::Q4_1:
      out.d = load_u16(block);
      out.m = load_u16(block + 2);
      read_nibbles_32(block + 4, out.codes);
      return;
    case TensorType::Q5_0:
      out.d = load_u16(block);
      read_nibbles_32(block + 6, out.codes);
      add_fifth_bits_32(block + 2, out.codes);
      return;
    case TensorType::Q5_1:
      out.d = load_u16(block);
      out.m = load_u16(block + 2);
      read_nibbles_32(block + 8, out.codes);
      add_fifth_bits_32(block + 4, out.codes);
      return;
    case TensorType::Q8_0:
      out.d = load_u16(block);
      std::memcpy(out.codes, block + 2, 32);
      return;
    case TensorType::Q2_K: return read_q2_k(block, out);
    case TensorType::Q3_K: return read_q3_k(block, out);
    case TensorType::Q4_K: return read_q4_k(block, block + 16, out);
    case TensorType::Q5_K:
      read_q4_k(block, block + 48, out);
      for (int s = 0; s < 8; ++s) add_bits(block + 16, 32, s, 1, 4, out.codes + 32 * s);
      return;
    case TensorType::Q6_K: return read_q6_k(block, out);
    case TensorType::IQ4_XS: return read_iq4_xs(block, out);
    case TensorType::TQ1_0: return read_tq1_0(block, out);
    case TensorType::TQ2_0: return read_tq2_0(block, out);
    case TensorType::MXFP4:
      out.d = block[0];
      read_nibbles_32(block + 1, out.codes);
      return;
    default: return;
  }
}

void block_values(TensorType type, const BlockCodes& block, float* out) {
  const float d = half_to_float(block.d);
  const float m = half_to_float(block.m);
  const uint8_t* codes = block.codes;
  switch (type) {
    case TensorType::Q4_0: return scaled_values(d, codes, 8, 32, out);
    case TensorType::Q5_0: return scaled_values(d, codes, 16, 32, out);
    case TensorType::Q4_1:
    case TensorType::Q5_1: return offset_values(d, m, codes, 32, out);
    case TensorType::IQ4_NL: return table_values(d, codes, kernels::kIq4Values, out);
    case TensorType::TQ1_0:
    case TensorType::TQ2_0: return scaled_values(d, codes, 1, 256, out);
    case TensorType::MXFP4: return table_values(exponent_to_float(block.d), codes, kernels::kE2M1Values, out);
    case TensorType::Q8_0:
      for (int i = 0; i < 32; ++i) out[i] = signed_byte(codes[i]) * d;
      return;
    case TensorType::Q2_K:
      for (int s = 0; s < 16; ++s) {
        const float min = m * static_cast<float>(block.scales[s] >> 4);
        offset_values(d * static_cast<float>(block.scales[s] & 15), -min, codes + 16 * s, 16, out + 16 * s);
      }
      return;
    case TensorType::Q3_K:
      for (int s = 0; s < 16; ++s) scaled_values(d * signed_byte(block.scales[s]), codes + 16 * s, 4, 16, out + 16 * s);
      return;
    case TensorType::Q4_K:
    case TensorType::Q5_K:
      for (int s = 0; s < 8; ++s) {
        const float min = m * static_cast<float>(block.mins[s]);
        offset_values(d * static_cast<float>(block.scales[s]), -min, codes + 32 * s, 32, out + 32 * s);
      }
      return;
    case TensorType::Q6_K:
      for (int s = 0; s < 16; ++s) {
        scaled_values(d * signed_byte(block.scales[s]), codes + 16 * s, 32, 16, out + 16 * s);
      }
      return;
    case TensorType::IQ4_XS:
      for (int s = 0; s < 8; ++s) {
        table_values(d * signed_byte(block.scales[s]), codes + 32 * s, kernels::kIq4Values, out + 32 * s);
      }
      return;
    default: return;
  }
}

}  // namespace lutra::quant
