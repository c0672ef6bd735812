// The bytes of a packed weight panel: 8 rows interleaved so that one 32-byte vector holds 8 rows × 4 consecutive k.
// One layout serves every instruction-set path; only `quant` writes it. Constants only, so any path may include it.
//
// Quantised types. A panel is a run of super-blocks (32 or 256 elements of 8 rows), then zero padding to 64 bytes.
// A super-block is, in this order (offsets in the table below):
//   d      fp16[8]            scale of each row; MXFP4 byte[8]: the E8M0 byte e, a scale of 2^(e − 128)
//   m      fp16[8]            min (Q4_1, Q5_1) or dmin (Q2_K, Q4_K, Q5_K); absent elsewhere
//   scales byte[n_scales][8]  sub-block scales, unpacked to whole bytes, sub-block major, row minor:
//                             Q4_K, Q5_K 0..63; Q6_K int8; Q3_K, IQ4_XS int8 with the offset 32 already taken off;
//                             Q2_K the GGUF byte, scale in the low and min in the high nibble
//   mins   byte[8][8]         Q4_K, Q5_K only: 0..63
//   units  one per 32 elements: [high bits][low bits]
// Inside a unit, element k = 4j + t (j 0..7, t 0..3) of row r lives at byte 4r + t of some 32-byte vector:
//   byte      (8 vectors)     vector j
//   nibble    (4 vectors)     vector j % 4, low nibble for j < 4, high nibble for j ≥ 4
//   two bits  (2 vectors)     vector j / 4, bits 2(j % 4) and up
//   one bit   (1 vector)      bit j
// Codes are the unsigned codes of the format (Q3_K: 2 low bits + 4·hmask bit, value = code − 4; ternary types, TQ1_0's
// base-3 digits too: two bits, value = code − 1); Q8_0 holds int8; the IQ4 types and MXFP4 hold table indices. F32, F16
// and BF16 panels are element[k][8].
//
// A split Q8_0 matrix holds the code w + 128 = 16 · high + low of each weight in two places, so that the high bits can
// be read alone. A panel's high part is one byte a block, padded to 64 bytes: its radius, the largest kRadiusSteps ·
// ‖low − 7.5‖ among the panel's rows, rounded up; then a Q4_0 panel (whose value d · (high − 8) is d · (16 · high −
// 128) / 16). Its low part is a run of units of nibbles. Both are padded to 64 bytes.
//
// Bytes against GGUF: equal for Q2_K, Q6_K, the legacy types, IQ4_NL, TQ2_0 and MXFP4; IQ4_XS +1.5 %,
// Q5_K +2.3 %, Q4_K +2.8 %, Q3_K +3.6 %, TQ1_0 +22 %.
#pragma once

#include <cstdint>

namespace lutra::kernels {

enum class LowBits : uint8_t { kByte, kNibble, kTwo };
enum class HighBits : uint8_t { kNone, kOne, kTwo };
/// What d is: fp16, or a byte e that stands for 2^(e − 128).
enum class RowScale : uint8_t { kHalf, kExponent };

struct PanelShape {
  uint16_t elements;      ///< k covered by a super-block
  uint16_t min_offset;    ///< 0: no m
  uint16_t scale_offset;  ///< 0: no sub-block scales
  uint16_t mins_offset;   ///< 0: no separate sub-block mins
  uint16_t n_scales;
  uint16_t unit_offset;  ///< first unit
  uint16_t high_bytes;   ///< of a unit; the low bits follow
  uint16_t unit_bytes;
  uint16_t bytes;  ///< of a super-block
  LowBits low;
  HighBits high;
  RowScale d = RowScale::kHalf;
};

//                                  elems  m scales mins n_sc unit high unit  bytes
constexpr PanelShape kPanelQ4_0 = {32, 0, 0, 0, 0, 16, 0, 128, 144, LowBits::kNibble, HighBits::kNone};
constexpr PanelShape kPanelQ4_1 = {32, 16, 0, 0, 0, 32, 0, 128, 160, LowBits::kNibble, HighBits::kNone};
constexpr PanelShape kPanelQ5_0 = {32, 0, 0, 0, 0, 16, 32, 160, 176, LowBits::kNibble, HighBits::kOne};
constexpr PanelShape kPanelQ5_1 = {32, 16, 0, 0, 0, 32, 32, 160, 192, LowBits::kNibble, HighBits::kOne};
constexpr PanelShape kPanelQ8_0 = {32, 0, 0, 0, 0, 16, 0, 256, 272, LowBits::kByte, HighBits::kNone};
constexpr PanelShape kPanelIQ4_NL = {32, 0, 0, 0, 0, 16, 0, 128, 144, LowBits::kNibble, HighBits::kNone};
constexpr PanelShape kPanelQ2_K = {256, 16, 32, 0, 16, 160, 0, 64, 672, LowBits::kTwo, HighBits::kNone};
constexpr PanelShape kPanelQ3_K = {256, 0, 16, 0, 16, 144, 32, 96, 912, LowBits::kTwo, HighBits::kOne};
constexpr PanelShape kPanelQ4_K = {256, 16, 32, 96, 8, 160, 0, 128, 1184, LowBits::kNibble, HighBits::kNone};
constexpr PanelShape kPanelQ5_K = {256, 16, 32, 96, 8, 160, 32, 160, 1440, LowBits::kNibble, HighBits::kOne};
constexpr PanelShape kPanelQ6_K = {256, 0, 16, 0, 16, 144, 64, 192, 1680, LowBits::kNibble, HighBits::kTwo};
constexpr PanelShape kPanelIQ4_XS = {256, 0, 16, 0, 8, 80, 0, 128, 1104, LowBits::kNibble, HighBits::kNone};
constexpr PanelShape kPanelTernary = {256, 0, 0, 0, 0, 16, 0, 64, 528, LowBits::kTwo, HighBits::kNone};
constexpr PanelShape kPanelMXFP4 = {
    32, 0, 0, 0, 0, 8, 0, 128, 136, LowBits::kNibble, HighBits::kNone, RowScale::kExponent};

/// Bytes of a unit of a split Q8_0 panel's low part.
constexpr uint32_t kSplitLowUnit = 128;
/// Bytes of the radii of a split panel.
constexpr uint64_t split_radii_bytes(uint64_t n_blocks) { return (n_blocks + 63) / 64 * 64; }
/// Radii of a split panel are multiples of 1 / kRadiusSteps.
constexpr float kRadiusSteps = 6;

/// Values of the 4-bit non-linear types. Source: the GGUF format's IQ4_NL table.
constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/// Bits of the float 2^-127, a subnormal: what an exponent byte of 0 stands for, where moving the byte to a float's
/// exponent gives 0. Kernels take d as half of the larger of the two.
constexpr uint32_t kExponentZero = 0x00400000;
/// Twice the values of E2M1 floats, by their bits: integers, which the scale 2^(e − 128) halves again. Source: OCP
/// Microscaling Formats 1.0, 5.3.3; MXFP4 as GGUF stores it.
constexpr int8_t kE2M1Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// What the codes of a unit mean: unsigned numbers, int8 weights, indices of kIq4Values, indices of kE2M1Values.
enum class Codes : uint8_t { kUnsigned, kSignedByte, kIq4, kE2M1 };
constexpr bool is_table(Codes codes) { return codes == Codes::kIq4 || codes == Codes::kE2M1; }
constexpr const int8_t* code_values(Codes codes) { return codes == Codes::kE2M1 ? kE2M1Values : kIq4Values; }

}  // namespace lutra::kernels
