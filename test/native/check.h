// Just enough of a test framework for plain executables: counts checks, prints the failing ones with their place.
#pragma once

#include <cstdio>
#include <iostream>

namespace lutra_test {
inline int passed = 0;
inline int failed = 0;

inline void record(bool ok, const char* expression, const char* file, int line) {
  if (ok) {
    ++passed;
    return;
  }
  ++failed;
  if (failed <= 20) std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, expression);
}
}  // namespace lutra_test

#define CHECK(condition) lutra_test::record(static_cast<bool>(condition), #condition, __FILE__, __LINE__)
#define CHECK_EQ(a, b)                                                                                       \
  do {                                                                                                       \
    const auto& check_a_ = (a);                                                                              \
    const auto& check_b_ = (b);                                                                              \
    const bool check_ok_ = check_a_ == check_b_;                                                             \
    lutra_test::record(check_ok_, #a " == " #b, __FILE__, __LINE__);                                         \
    if (!check_ok_ && lutra_test::failed <= 20) std::cerr << "  " << check_a_ << " vs " << check_b_ << "\n"; \
  } while (0)

inline int lutra_test_summary() {
  std::printf("%d passed, %d failed\n", lutra_test::passed, lutra_test::failed);
  return lutra_test::failed == 0 ? 0 : 1;
}
