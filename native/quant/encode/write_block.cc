// Codes to GGUF blocks, the inverse of gguf_blocks.cc.
#include <cstring>

#include "quant/encode/encoders.h"
#include "quant/half.h"

namespace lutra::quant {

namespace {

using base::TensorType;

/// bytes[i] |= (codes[i] >> from & mask) << to, n of them.
void put_bits(const uint8_t* codes, int n, int from, int mask, int to, uint8_t* bytes) {
  for (int i = 0; i < n; ++i) bytes[i] = static_cast<uint8_t>(bytes[i] | ((codes[i] >> from) & mask) << to);
}

void put_nibbles_32(const uint8_t* codes, uint8_t* qs) {
  put_bits(codes, 16, 0, 15, 0, qs);
  put_bits(codes + 16, 16, 0, 15, 4, qs);
}

/// Bit 4 of each code becomes a bit of qh.
void put_fifth_bits_32(const uint8_t* codes, uint8_t* qh) {
  for (int i = 0; i < 32; ++i) qh[i / 8] = static_cast<uint8_t>(qh[i / 8] | ((codes[i] >> 4) & 1) << (i % 8));
}

/// Two bits of each of 256 codes: four groups of 32 share 32 bytes.
void put_pairs_256(const uint8_t* codes, uint8_t* qs) {
  for (int s = 0; s < 8; ++s) put_bits(codes + 32 * s, 32, 0, 3, 2 * (s % 4), qs + 32 * (s / 4));
}

/// Q4_K and Q5_K: eight 6-bit scales and eight 6-bit mins in 12 bytes.
void put_scales_mins(const BlockCodes& codes, uint8_t* packed) {
  for (int i = 0; i < 4; ++i) {
    const int high_scale = codes.scales[4 + i], high_min = codes.mins[4 + i];
    packed[i] = static_cast<uint8_t>(codes.scales[i] | (high_scale & 48) << 2);
    packed[4 + i] = static_cast<uint8_t>(codes.mins[i] | (high_min & 48) << 2);
    packed[8 + i] = static_cast<uint8_t>((high_scale & 15) | (high_min & 15) << 4);
  }
}

/// `n_digits` base-3 digits of each of n bytes, as a fraction of 256 steps that is rounded up: digit d of byte i is
/// codes[d * n + i].
void put_digits(const uint8_t* codes, int n, int n_digits, uint8_t* bytes) {
  for (int i = 0; i < n; ++i) {
    int number = 0;
    for (int digit = 0; digit < 5; ++digit) number = 3 * number + (digit < n_digits ? codes[digit * n + i] : 0);
    bytes[i] = static_cast<uint8_t>((number * 256 + 242) / 243);
  }
}

void write_tq1_0(const BlockCodes& codes, uint8_t* block) {
  put_digits(codes.codes, 32, 5, block);
  put_digits(codes.codes + 160, 16, 5, block + 32);
  put_digits(codes.codes + 240, 4, 4, block + 48);
  store_u16(block + 52, codes.d);
}

void write_q3_k(const BlockCodes& codes, uint8_t* block) {
  for (int s = 0; s < 8; ++s) put_bits(codes.codes + 32 * s, 32, 2, 1, s, block);
  put_pairs_256(codes.codes, block + 32);
  uint8_t* scales = block + 96;
  for (int i = 0; i < 16; ++i) {
    const int scale = static_cast<int8_t>(codes.scales[i]) + 32;
    scales[i & 7] = static_cast<uint8_t>(scales[i & 7] | (scale & 15) << (4 * (i >> 3)));
    scales[8 + (i & 3)] = static_cast<uint8_t>(scales[8 + (i & 3)] | (scale >> 4) << (2 * (i >> 2)));
  }
  store_u16(block + 108, codes.d);
}

void write_q4_k(const BlockCodes& codes, uint8_t* block, uint8_t* qs) {
  store_u16(block, codes.d);
  store_u16(block + 2, codes.m);
  put_scales_mins(codes, block + 4);
  for (int s = 0; s < 8; ++s) put_bits(codes.codes + 32 * s, 32, 0, 15, 4 * (s % 2), qs + 32 * (s / 2));
}

void write_q6_k(const BlockCodes& codes, uint8_t* block) {
  for (int half = 0; half < 2; ++half) {
    const uint8_t* from = codes.codes + 128 * half;
    put_bits(from, 64, 0, 15, 0, block + 64 * half);
    put_bits(from + 64, 64, 0, 15, 4, block + 64 * half);
    for (int s = 0; s < 4; ++s) put_bits(from + 32 * s, 32, 4, 3, 2 * s, block + 128 + 32 * half);
  }
  std::memcpy(block + 192, codes.scales, 16);
  store_u16(block + 208, codes.d);
}

void write_iq4_xs(const BlockCodes& codes, uint8_t* block) {
  store_u16(block, codes.d);
  int scales_high = 0;
  for (int i = 0; i < 8; ++i) {
    const int scale = static_cast<int8_t>(codes.scales[i]) + 32;
    block[4 + i / 2] = static_cast<uint8_t>(block[4 + i / 2] | (scale & 15) << (4 * (i & 1)));
    scales_high |= (scale >> 4) << (2 * i);
    put_nibbles_32(codes.codes + 32 * i, block + 8 + 16 * i);
  }
  store_u16(block + 2, static_cast<uint16_t>(scales_high));
}

}  // namespace

void write_gguf_block(TensorType type, const BlockCodes& codes, uint8_t* block) {
  std::memset(block, 0, base::tensor_type_traits(type).block_bytes);
  switch (type) {
    case TensorType::Q4_0:
    case TensorType::IQ4_NL: store_u16(block, codes.d); return put_nibbles_32(codes.codes, block + 2);
    case TensorType::Q4_1:
      store_u16(block, codes.d);
      store_u16(block + 2, codes.m);
      return put_nibbles_32(codes.codes, block + 4);
    case TensorType::Q5_0:
      store_u16(block, codes.d);
      put_fifth_bits_32(codes.codes, block + 2);
      return put_nibbles_32(codes.codes, block + 6);
    case TensorType::Q5_1:
      store_u16(block, codes.d);
      store_u16(block + 2, codes.m);
      put_fifth_bits_32(codes.codes, block + 4);
      return put_nibbles_32(codes.codes, block + 8);
    case TensorType::Q8_0:
      store_u16(block, codes.d);
      std::memcpy(block + 2, codes.codes, 32);
      return;
    case TensorType::Q2_K:
      std::memcpy(block, codes.scales, 16);
      put_pairs_256(codes.codes, block + 16);
      store_u16(block + 80, codes.d);
      return store_u16(block + 82, codes.m);
    case TensorType::Q3_K: return write_q3_k(codes, block);
    case TensorType::Q4_K: return write_q4_k(codes, block, block + 16);
    case TensorType::Q5_K:
      for (int s = 0; s < 8; ++s) put_bits(codes.codes + 32 * s, 32, 4, 1, s, block + 16);
      return write_q4_k(codes, block, block + 48);
    case TensorType::Q6_K: return write_q6_k(codes, block);
    case TensorType::IQ4_XS: return write_iq4_xs(codes, block);
    case TensorType::TQ1_0: return write_tq1_0(codes, block);
    case TensorType::TQ2_0: put_pairs_256(codes.codes, block); return store_u16(block + 64, codes.d);
    case TensorType::MXFP4: block[0] = static_cast<uint8_t>(codes.d); return put_nibbles_32(codes.codes, block + 1);
    default: return;
  }
}

}  // namespace lutra::quant
