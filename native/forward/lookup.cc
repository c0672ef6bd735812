#include "forward/lookup.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "attention/key_encoder.h"

namespace lutra::forward {

using attention::Codebooks;
using attention::CodebookShape;
using base::Status;
using kernels::kPagePositions;

namespace {

Status check_shape(const Codebooks& books, const model::HyperParameters& hyper) {
  const CodebookShape& shape = books.shape();
  bool fits =
      shape.n_layers == hyper.n_layers && shape.n_kv_heads == hyper.n_kv_heads && shape.head_dim == hyper.head_dim;
  for (uint32_t layer = 0; fits && layer < hyper.n_layers; ++layer) {
    fits = (books.coded()[layer] != 0) == !hyper.is_sliding(layer);
  }
  if (fits) return {};
  const auto describe = [](uint32_t layers, uint32_t heads, uint32_t dim) {
    return std::to_string(layers) + " layers of " + std::to_string(heads) + " K/V heads of " + std::to_string(dim);
  };
  return {"INVALID_OPTION", "codebooks: expected those of " +
                                describe(hyper.n_layers, hyper.n_kv_heads, hyper.head_dim) + ", got " +
                                describe(shape.n_layers, shape.n_kv_heads, shape.head_dim)};
}

}  // namespace

base::Result<std::unique_ptr<Lookup>> Lookup::create(const LookupOptions& options, const model::HyperParameters& hyper,
                                                     const cache::KvShape& shape) {
  auto books = Codebooks::parse(options.codebooks);
  if (!books.ok()) return books.status();
  if (Status status = check_shape(books.value(), hyper); !status.ok()) return status;
  const CodebookShape& book_shape = books.value().shape();
  const uint64_t code_bytes = kernels::lookup_page_bytes(book_shape.n_subs(), book_shape.n_outliers);
  auto codes = cache::KeyCodes::create(shape, books.value().coded(), code_bytes);
  if (!codes.ok()) return codes.status();
  const uint64_t scratch = attention::nomad_scratch_bytes(book_shape, hyper.n_heads, shape.n_pages * kPagePositions);
  std::unique_ptr<Lookup> made(new Lookup(std::move(books.value()), options.nomad));
  made->codes_ = std::move(codes.value());
  made->scratch_ = base::AlignedBuffer(scratch);
  if (made->scratch_.data() == nullptr) return Status("E_OUT_OF_MEMORY", "could not allocate scores of key codes");
  return made;
}

void Lookup::begin(const Step& step, std::span<const attention::RowSpan> spans) {
  coded_rows_.clear();
  exact_spans_.clear();
  shares_.assign(step.rows, {});
  for (const attention::RowSpan& span : spans) {
    bool continues = false;
    for (uint32_t row = span.row_begin; row < span.row_end; ++row) {
      const bool approximates = step.positions[row] >= step.exact_until[step.row_sequences[row]];
      if (approximates && attention::coded_pages(static_cast<uint32_t>(step.positions[row])) > 1) {
        coded_rows_.push_back({row, span.page_table});
        continues = false;
        continue;
      }
      if (!continues) exact_spans_.push_back({row, row, span.page_table});
      exact_spans_.back().row_end = row + 1;
      continues = true;
    }
  }
}

void Lookup::encode(const LookupContext& context, uint32_t layer, const Step& step, std::span<const uint32_t> pages,
                    std::span<const uint32_t> ends) {
  full_pages_.clear();
  for (uint32_t row = 0; row < step.rows; ++row) {
    if (static_cast<uint32_t>(step.positions[row]) % kPagePositions + 1 != kPagePositions) continue;
    const uint32_t begin = row == 0 ? 0 : ends[row - 1];
    full_pages_.insert(full_pages_.end(), pages.begin() + begin, pages.begin() + ends[row]);
  }
  encode_pages(context, layer, full_pages_);
}

void Lookup::pages_written(const LookupContext& context, std::span<const int32_t> pages) {
  full_pages_.assign(pages.begin(), pages.end());
  for (uint32_t layer = 0; layer < books_.shape().n_layers; ++layer) {
    if (covers(layer)) encode_pages(context, layer, full_pages_);
  }
}

void Lookup::encode_pages(const LookupContext& context, uint32_t layer, std::span<const uint32_t> pages) {
  const uint32_t n_heads = books_.shape().n_kv_heads;
  context.team.parallel_for(static_cast<uint32_t>(pages.size()) * n_heads, [&](uint32_t chunk, int) {
    attention::encode_page(context.kernels, context.cache, books_, codes_, layer, pages[chunk / n_heads],
                           chunk % n_heads);
  });
}

void Lookup::attend(const LookupContext& context, const attention::AttentionInput& input) {
  attention::attend_nomad(
      context.team, context.kernels, context.cache, options_,
      {.attention = &input, .rows = coded_rows_, .books = &books_, .codes = &codes_, .shares = shares_.data()},
      scratch_.data());
}

void Lookup::report(const Step& step) const {
  std::fill_n(step.attention_kept, step.rows, 0.0f);
  std::fill_n(step.attention_dropped, step.rows, 0.0f);
  std::fill_n(step.attention_coded, step.rows, 0.0f);
  const std::vector<uint8_t>& coded = books_.coded();
  const double layers = std::accumulate(coded.begin(), coded.end(), 0.0);
  for (const attention::CodedRow& row : coded_rows_) {
    const attention::CodedShare& share = shares_[row.row];
    const uint32_t pages = attention::coded_pages(static_cast<uint32_t>(step.positions[row.row])) - 1;
    step.attention_kept[row.row] = static_cast<float>(share.kept / layers);
    step.attention_dropped[row.row] = static_cast<float>(share.dropped / layers);
    step.attention_coded[row.row] = static_cast<float>(pages * kPagePositions);
  }
}

}  // namespace lutra::forward
