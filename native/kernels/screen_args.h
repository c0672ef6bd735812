// What the screen of a split matrix takes and gives (KernelTable::screen).
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

namespace lutra::kernels {

/// First look at a split Q8_0 matrix (panel_layout.h) with one row of activations: what the high parts alone say of a
/// logit, and how far a panel's logits can reach. With d_b a row's scale, n_b its panel's radius and H_b = Σ high · c
/// of block b, c the activation's codes: score = 16 · Σ_b (d_b · d · H_b + d_b · centre_b), and reach is the largest of
/// score + Σ_b |d_b| · (box_b + n_b · ball_b) in the panel.
struct ScreenArgs {
  const uint8_t* panels;  ///< high parts, behind their radii
  const uint8_t* radii;   ///< before them, also panel_bytes apart
  uint64_t panel_bytes;
  uint32_t rows;
  uint32_t n_blocks;
  uint32_t panel_begin;
  uint32_t panel_end;
  PlaneActivations activations;  ///< one row
  const float* centre;           ///< [n_blocks]
  const float* box;              ///< [n_blocks]
  const float* ball;             ///< [n_blocks]
  float* scores;                 ///< of the rows from panel_begin's on, but none at or past `rows`
  float* reach;                  ///< [panel_end - panel_begin]
};

}  // namespace lutra::kernels
