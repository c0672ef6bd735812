// The parts of the GGUF reader that no malformed file reaches: look-ups, reads of tensor data, identity, changes of
// the file under an open reader. Malformed files are in test/unit/gguf-reader.test.ts.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "gguf/gguf.h"
#include "gguf/text.h"

namespace {

using lutra::gguf::File;
using lutra::gguf::ValueType;

/// Appends little-endian fields.
struct Bytes {
  std::string data;
  template <typename T>
  Bytes& put(T value) {
    data.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Bytes& text(std::string_view value) {
    put<uint64_t>(value.size());
    data.append(value);
    return *this;
  }
  template <typename T>
  Bytes& entry(std::string_view key, ValueType type, T value) {
    return text(key).put(static_cast<uint32_t>(type)).put(value);
  }
  Bytes& pad(size_t alignment) {
    data.resize((data.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
};

constexpr size_t kFloats = 96;

/// 12 entries, tensors "a" [32, 3] and "b" [5], both F32, holding 0, 1, 2 …
std::string sample_file() {
  Bytes out;
  out.data = "GGUF";
  out.put<uint32_t>(3).put<uint64_t>(2).put<uint64_t>(12);
  out.entry<uint8_t>("t.u8", ValueType::kU8, 200).entry<int8_t>("t.i8", ValueType::kI8, -5);
  out.entry<uint16_t>("t.u16", ValueType::kU16, 60000).entry<int32_t>("t.i32", ValueType::kI32, 7);
  out.entry<uint64_t>("t.u64", ValueType::kU64, ~uint64_t{0}).entry<int64_t>("t.i64", ValueType::kI64, INT64_MIN);
  out.entry<float>("t.f32", ValueType::kF32, 0.5f).entry<double>("t.f64", ValueType::kF64, 1e-300);
  out.entry<uint8_t>("t.bool", ValueType::kBool, 1);
  out.text("t.string").put<uint32_t>(8).text(std::string("a\0b", 3));
  out.text("t.strings").put<uint32_t>(9).put<uint32_t>(8).put<uint64_t>(2).text("x").text("");
  out.text("t.numbers").put<uint32_t>(9).put<uint32_t>(3).put<uint64_t>(2).put<int16_t>(-2).put<int16_t>(3);
  out.text("a").put<uint32_t>(2).put<uint64_t>(32).put<uint64_t>(3).put<uint32_t>(0).put<uint64_t>(0);
  out.text("b").put<uint32_t>(1).put<uint64_t>(5).put<uint32_t>(0).put<uint64_t>(kFloats * 4);
  out.pad(32);
  for (size_t i = 0; i < kFloats; ++i) out.put<float>(static_cast<float>(i));
  for (int i = 0; i < 5; ++i) out.put<float>(static_cast<float>(100 + i));
  return out.pad(32).data;
}

void write_file(const std::string& path, const std::string& data) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(descriptor >= 0);
  CHECK_EQ(::write(descriptor, data.data(), data.size()), static_cast<ssize_t>(data.size()));
  ::close(descriptor);
}

/// By value: CHECK_EQ binds references, and a Result of a call does not outlive the binding.
template <typename T>
T value_of(lutra::base::Result<T> result) {
  return result.ok() ? result.value() : T();
}

std::string code_of(const lutra::base::Status& status) { return status.code(); }

void test_values(const File& file) {
  CHECK_EQ(file.metadata().size(), 12u);
  CHECK_EQ(file.find("t.u8")->i, 200);
  CHECK_EQ(file.find("t.i8")->i, -5);
  CHECK_EQ(file.find("t.i8")->u, static_cast<uint64_t>(int64_t{-5}));
  CHECK_EQ(file.find("t.u64")->u, ~uint64_t{0});
  CHECK_EQ(file.find("t.i64")->i, INT64_MIN);
  CHECK_EQ(file.find("t.f64")->f, 1e-300);
  CHECK_EQ(file.find("t.string")->text.size(), 3u);
  CHECK(file.find("t.strings")->element_type == ValueType::kString);
  CHECK_EQ(file.find("t.strings")->strings.at(0), "x");
  CHECK_EQ(file.find("t.strings")->strings.at(1), "");
  CHECK_EQ(file.find("t.numbers")->count, 2u);
  CHECK_EQ(file.find("t.numbers")->bytes.size(), 4u);
  CHECK(file.find("t.absent") == nullptr);
  CHECK(file.find("T.U8") == nullptr);
  CHECK(file.find("") == nullptr);
}

void test_lookups(const File& file) {
  using namespace lutra::gguf;
  CHECK_EQ(value_of(require_unsigned(file, "t.u16", 0, 60000)), 60000u);
  CHECK_EQ(value_of(require_unsigned(file, "t.i32", 7, 7)), 7u);
  CHECK_EQ(code_of(require_unsigned(file, "t.u16", 0, 59999).status()), "MODEL_BAD_METADATA");
  CHECK_EQ(code_of(require_unsigned(file, "t.i32", 8, 9).status()), "MODEL_BAD_METADATA");
  CHECK_EQ(code_of(require_unsigned(file, "t.i8", 0, ~uint64_t{0}).status()), "MODEL_BAD_METADATA");
  CHECK_EQ(code_of(require_unsigned(file, "t.i64", 0, ~uint64_t{0}).status()), "MODEL_BAD_METADATA");
  CHECK_EQ(code_of(require_unsigned(file, "t.bool", 0, 9).status()), "MODEL_BAD_METADATA");
  CHECK_EQ(code_of(require_unsigned(file, "t.absent", 0, 9).status()), "MODEL_BAD_METADATA");
  CHECK_EQ(value_of(unsigned_or(file, "t.absent", 42, 0, 9)), 42u);
  CHECK(!unsigned_or(file, "t.f32", 42, 0, 9).ok());
  CHECK_EQ(value_of(require_float(file, "t.f32")), 0.5);
  CHECK(!require_float(file, "t.u8").ok());
  CHECK_EQ(value_of(float_or(file, "t.absent", 2.5)), 2.5);
  CHECK(bool_or(file, "t.bool", false).value());
  CHECK(bool_or(file, "t.absent", true).value());
  CHECK(!bool_or(file, "t.u8", true).ok());
  CHECK_EQ(value_of(require_string(file, "t.string")), std::string("a\0b", 3));
  CHECK(!require_string(file, "t.strings").ok());
  CHECK_EQ(value_of(string_or(file, "t.absent", "none")), "none");
  const std::string message = require_unsigned(file, "t.string", 1, 8).status().message();
  CHECK(message.find("t.string") != std::string::npos && message.find("from 1 to 8") != std::string::npos &&
        message.find("type string") != std::string::npos);
}

void test_tensors(const File& file) {
  CHECK_EQ(file.tensors().size(), 2u);
  const auto* a = file.find_tensor("a");
  const auto* b = file.find_tensor("b");
  CHECK(a != nullptr && b != nullptr && file.find_tensor("c") == nullptr && file.find_tensor("") == nullptr);
  CHECK_EQ(a->rows(), 3u);
  CHECK_EQ(a->size_bytes, kFloats * 4);
  CHECK_EQ(b->dims[1] * b->dims[2] * b->dims[3], 1u);
  CHECK_EQ(b->offset_bytes, a->offset_bytes + kFloats * 4);
  float values[5] = {};
  CHECK(file.read(b->file, b->offset_bytes, values, sizeof(values)).ok());
  CHECK_EQ(values[4], 104.0f);
  char byte = 0;
  CHECK(file.read(0, file.total_bytes() - 1, &byte, 1).ok());
  CHECK(file.read(0, file.total_bytes(), &byte, 0).ok());
  CHECK_EQ(code_of(file.read(0, file.total_bytes(), &byte, 1)), "GGUF_TRUNCATED");
  CHECK_EQ(code_of(file.read(0, ~uint64_t{0}, &byte, 1)), "GGUF_TRUNCATED");
  CHECK_EQ(code_of(file.read(0, INT64_MAX, &byte, 1)), "GGUF_TRUNCATED");
  CHECK_EQ(code_of(file.read(1, 0, &byte, 1)), "INTERNAL");
}

void test_parallel_reads(const File& file) {
  const auto* a = file.find_tensor("a");
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (size_t i = 0; i < 2000; ++i) {
        const size_t index = (i * 7 + static_cast<size_t>(thread)) % kFloats;
        float value = -1;
        const bool ok = file.read(0, a->offset_bytes + index * 4, &value, 4).ok();
        if (!ok || value != static_cast<float>(index)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

// G18: the file is cut, rewritten, replaced or deleted while it is open.
void test_changes(const std::string& path) {
  const std::string data = sample_file();
  write_file(path, data);
  auto file = File::open(path).value();
  auto again = File::open(path).value();
  CHECK_EQ(file->identity(), again->identity());
  CHECK(file->check_unchanged().ok());

  float value = 0;
  const uint64_t place = file->find_tensor("b")->offset_bytes;
  CHECK_EQ(::truncate(path.c_str(), static_cast<off_t>(place + 2)), 0);
  CHECK_EQ(code_of(file->read(0, place, &value, 4)), "GGUF_TRUNCATED");
  CHECK_EQ(code_of(file->check_unchanged()), "MODEL_CHANGED");

  write_file(path, data);
  file = File::open(path).value();
  const struct timespec times[2] = {{1000, 0}, {1000, 5}};
  CHECK_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  CHECK_EQ(code_of(file->check_unchanged()), "MODEL_CHANGED");

  file = File::open(path).value();
  const std::string other = path + ".new";
  write_file(other, data);
  CHECK_EQ(::rename(other.c_str(), path.c_str()), 0);  // the open file keeps the old bytes
  CHECK(file->check_unchanged().ok());
  CHECK(file->read(0, place, &value, 4).ok());
  CHECK(File::open(path).value()->identity() != file->identity());
  ::unlink(path.c_str());
  CHECK(file->check_unchanged().ok());
  CHECK_EQ(code_of(File::open(path).status()), "E_IO");
}

void test_descriptors(const std::string& path) {
  const auto open_descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  if (!std::filesystem::exists("/proc/self/fd")) return;
  const auto before = open_descriptors();
  for (int i = 0; i < 50; ++i) {
    write_file(path, sample_file());
    CHECK(File::open(path).ok());
    write_file(path, sample_file().substr(0, 100));
    CHECK(!File::open(path).ok());
  }
  CHECK_EQ(open_descriptors(), before);
}

void test_paths() {
  CHECK_EQ(code_of(File::open("").status()), "E_IO");
  CHECK_EQ(code_of(File::open(std::string("/dev/null\0x", 11)).status()), "E_IO");
  CHECK_EQ(code_of(File::open("/dev/null").status()), "E_IO");
  CHECK_EQ(code_of(File::open(std::string(100000, 'x')).status()), "E_IO");
}

void test_text() {
  using lutra::gguf::is_utf8;
  CHECK_EQ(lutra::gguf::quote("a\"b\n\xff"), "\"a\\\"b\\x0a\\xff\"");
  CHECK(lutra::gguf::quote(std::string(1000, 'x')).size() < 90);
  CHECK(is_utf8("") && is_utf8("\x7f\xc2\x80\xe0\xa0\x80\xf4\x8f\xbf\xbf"));
  for (const char* bad : {"\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe2\x82"}) {
    CHECK(!is_utf8(bad));
  }
}

}  // namespace

int main() {
  const std::string directory = (std::filesystem::temp_directory_path() / "lutra-gguf-XXXXXX").string();
  std::vector<char> name(directory.c_str(), directory.c_str() + directory.size() + 1);
  if (::mkdtemp(name.data()) == nullptr) return 2;
  const std::string path = std::string(name.data()) + "/sample.gguf";
  write_file(path, sample_file());
  auto opened = File::open(path);
  CHECK(opened.ok());
  if (opened.ok()) {
    test_values(*opened.value());
    test_lookups(*opened.value());
    test_tensors(*opened.value());
    test_parallel_reads(*opened.value());
  }
  test_changes(path);
  test_descriptors(path);
  test_paths();
  test_text();
  std::filesystem::remove_all(name.data());
  return lutra_test_summary();
}
