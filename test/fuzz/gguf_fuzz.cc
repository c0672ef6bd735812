// Fuzz target of the GGUF reader: opens arbitrary bytes as a file, reads every tensor, asks every kind of look-up.
//
// Entry for libFuzzer, plus a main for plain compilers:
//   gguf_fuzz FILE...                replays files
//   gguf_fuzz -n N -s SEED FILE...   N seeded mutations of the files: byte flips, extreme integers at every width,
//                                    cuts, copied and repeated spans, lengths changed together with their content
// A finding is a crash, a sanitizer report, or a run of one input past one second.
// Build with -DLUTRA_LIBFUZZER to leave main out.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "gguf/gguf.h"

namespace {

std::map<std::string, uint64_t> outcomes;  // how often each code was given: shows that mutations reach all checks

/// Touches everything a valid file offers; the sum keeps the work from being removed.
uint64_t walk(const lutra::gguf::File& file) {
  uint64_t sum = file.total_bytes() + file.identity().size() + file.alignment() + file.version();
  for (const auto& [key, value] : file.metadata()) {
    if (file.find(key) != &value) std::abort();
    sum += lutra::gguf::require_unsigned(file, key, 1, 1 << 20).ok();
    sum += lutra::gguf::require_float(file, key).ok() + lutra::gguf::require_string(file, key).ok();
    sum += lutra::gguf::bool_or(file, key, true).ok() + lutra::gguf::string_or(file, key, "x").ok();
    for (const std::string& text : value.strings) sum += text.size();
    for (const uint8_t byte : value.bytes) sum += byte;
  }
  std::vector<uint8_t> data;
  for (const auto& tensor : file.tensors()) {
    if (file.find_tensor(tensor.name) != &tensor) std::abort();
    if (tensor.rows() == 0 || tensor.size_bytes == 0) std::abort();
    data.resize(static_cast<size_t>(std::min<uint64_t>(tensor.size_bytes, 1 << 16)));
    if (!file.read(tensor.file, tensor.offset_bytes + tensor.size_bytes - data.size(), data.data(), data.size()).ok()) {
      std::abort();  // the directory promised these bytes
    }
    sum += data.back();
  }
  return sum + file.check_unchanged().ok();
}

/// One memory file, rewritten for each input.
std::string memory_file(const uint8_t* data, size_t size) {
  static const int descriptor = memfd_create("gguf_fuzz", MFD_CLOEXEC);
  if (descriptor < 0 || ftruncate(descriptor, 0) != 0) std::abort();
  for (size_t done = 0; done < size;) {
    const ssize_t wrote = pwrite(descriptor, data + done, size - done, static_cast<off_t>(done));
    if (wrote <= 0) std::abort();
    done += static_cast<size_t>(wrote);
  }
  return "/proc/self/fd/" + std::to_string(descriptor);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static volatile uint64_t sink = 0;
  const auto opened = lutra::gguf::File::open(memory_file(data, size));
  ++outcomes[opened.status().code()];
  if (opened.ok()) {
    sink = sink + walk(*opened.value());
  } else if (opened.status().message().empty() || opened.status().message().size() > 2048) {
    std::abort();
  }
  return 0;
}

#ifndef LUTRA_LIBFUZZER
namespace {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : state_(seed * 2 + 1) {}

  uint64_t next(uint64_t bound) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return bound == 0 ? 0 : (state_ >> 11) % bound;
  }

  void mutate(std::vector<uint8_t>& bytes) {
    for (uint64_t round = 1 + next(4); round > 0; --round) mutate_once(bytes);
  }

 private:
  // Most of a file is weights: three mutations in four go to the header's likely place.
  size_t place(const std::vector<uint8_t>& bytes) {
    const size_t head = std::min<size_t>(bytes.size(), next(2) == 0 ? 256 : 16384);
    return next(bytes.size() < 2 ? 1 : (next(4) == 0 ? bytes.size() : head));
  }

  void mutate_once(std::vector<uint8_t>& bytes) {
    if (bytes.empty()) return;
    const size_t at = place(bytes);
    switch (next(7)) {
      case 0: bytes[at] ^= static_cast<uint8_t>(1u << next(8)); break;
      case 1: bytes[at] = static_cast<uint8_t>(next(256)); break;
      case 2: write_extreme(bytes, at); break;
      case 3: bytes.resize(at + 1); break;
      case 4: repeat_span(bytes, at); break;
      case 5: resize_string(bytes, at); break;
      default: bytes.insert(bytes.end(), 1 + next(64), static_cast<uint8_t>(next(256))); break;
    }
  }

  void write_extreme(std::vector<uint8_t>& bytes, size_t at) {
    static constexpr uint64_t kExtremes[] = {0,
                                             1,
                                             2,
                                             3,
                                             4,
                                             5,
                                             8,
                                             9,
                                             12,
                                             13,
                                             31,
                                             32,
                                             255,
                                             256,
                                             65535,
                                             65536,
                                             0x7fffffff,
                                             0x80000000,
                                             0xffffffff,
                                             0x7fffffffffffffff,
                                             0x8000000000000000,
                                             0xffffffffffffffff,
                                             0xfffffffffffffff0,
                                             0x2000000000000000};
    const uint64_t value = kExtremes[next(std::size(kExtremes))];
    const size_t width = std::min<size_t>(size_t{1} << next(4), bytes.size() - at);
    std::memcpy(bytes.data() + at, &value, width);
  }

  void repeat_span(std::vector<uint8_t>& bytes, size_t at) {
    const size_t size = std::min<size_t>(1 + next(128), bytes.size() - at);
    const std::vector<uint8_t> span(bytes.begin() + static_cast<ptrdiff_t>(at),
                                    bytes.begin() + static_cast<ptrdiff_t>(at + size));
    bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(place(bytes)), span.begin(), span.end());
  }

  // Finds something that looks like a length-prefixed string and changes length and content together.
  void resize_string(std::vector<uint8_t>& bytes, size_t at) {
    for (size_t i = at; i + 8 < bytes.size() && i < at + 512; ++i) {
      uint64_t length = 0;
      std::memcpy(&length, bytes.data() + i, 8);
      if (length == 0 || length > 256 || length > bytes.size() - i - 8) continue;
      const uint64_t wanted = next(length + 3);
      const auto content = bytes.begin() + static_cast<ptrdiff_t>(i + 8);
      if (wanted < length) {
        bytes.erase(content + static_cast<ptrdiff_t>(wanted), content + static_cast<ptrdiff_t>(length));
      } else {
        bytes.insert(content, wanted - length, static_cast<uint8_t>(next(128)));
      }
      std::memcpy(bytes.data() + i, &wanted, 8);
      return;
    }
  }

  uint64_t state_;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool run_timed(const std::vector<uint8_t>& bytes) {
  const auto start = std::chrono::steady_clock::now();
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  if (seconds_since(start) < 1.0) return true;
  std::fprintf(stderr, "too slow: %zu bytes took %.2f s\n", bytes.size(), seconds_since(start));
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t count = 0;
  uint64_t seed = 1;
  std::vector<std::vector<uint8_t>> seeds;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "-n") == 0 && i + 1 < argc) {
      count = std::strtoull(argv[++i], nullptr, 10);
    } else if (std::strcmp(argv[i], "-s") == 0 && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else {
      std::ifstream in(argv[i], std::ios::binary);
      if (!in) {
        std::fprintf(stderr, "cannot open %s\n", argv[i]);
        return 2;
      }
      seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    }
  }
  if (seeds.empty()) {
    std::fprintf(stderr, "usage: gguf_fuzz [-n MUTATIONS] [-s SEED] FILE...\n");
    return 2;
  }
  const auto start = std::chrono::steady_clock::now();
  bool ok = true;
  for (const auto& bytes : seeds) ok = run_timed(bytes) && ok;
  Mutator mutator(seed);
  for (uint64_t i = 0; i < count; ++i) {
    std::vector<uint8_t> bytes = seeds[mutator.next(seeds.size())];
    mutator.mutate(bytes);
    ok = run_timed(bytes) && ok;
  }
  std::printf("%zu files, %llu mutations in %.1f s\n", seeds.size(), static_cast<unsigned long long>(count),
              seconds_since(start));
  for (const auto& [code, times] : outcomes) {
    std::printf("  %-24s %llu\n", code.c_str(), static_cast<unsigned long long>(times));
  }
  return ok ? 0 : 1;
}
#endif
