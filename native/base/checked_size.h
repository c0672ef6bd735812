// Size arithmetic that cannot wrap: every product, sum and padding of sizes that come from a file or a request goes
// through here. A value that would not fit turns invalid and stays invalid, so one test at the end is enough.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lutra::base {

class CheckedSize {
 public:
  constexpr CheckedSize(uint64_t value) : value_(value) {}  // NOLINT: implicit by design

  constexpr bool valid() const { return valid_; }
  /// Only meaningful when valid().
  constexpr uint64_t value() const { return value_; }

  constexpr CheckedSize operator+(CheckedSize other) const {
    CheckedSize sum(0);
    sum.valid_ = !__builtin_add_overflow(value_, other.value_, &sum.value_) && valid_ && other.valid_;
    return sum;
  }
  constexpr CheckedSize operator*(CheckedSize other) const {
    CheckedSize product(0);
    product.valid_ = !__builtin_mul_overflow(value_, other.value_, &product.value_) && valid_ && other.valid_;
    return product;
  }
  /// Rounds up to a multiple of `alignment` (a power of two).
  constexpr CheckedSize padded_to(uint64_t alignment) const {
    CheckedSize padded = *this + CheckedSize(alignment - 1);
    padded.value_ &= ~(alignment - 1);
    return padded;
  }

 private:
  uint64_t value_;
  bool valid_ = true;
};

}  // namespace lutra::base
