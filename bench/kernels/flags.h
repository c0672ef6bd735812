// The command line of a kernel bench: --name VALUE pairs, values that are lists separated by commas.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "kernels/kernels.h"

namespace lutra::bench {

inline std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t end = text.find(separator); end != std::string::npos; end = text.find(separator, begin)) {
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  parts.push_back(text.substr(begin));
  return parts;
}

class Flags {
 public:
  /// `known`: every flag with its default. Ends the process on a flag that is not among them.
  Flags(int argc, char** argv, std::map<std::string, std::string> known) : values_(std::move(known)) {
    for (int i = 1; i < argc; i += 2) {
      const std::string name = argv[i];
      const auto found = values_.find(name.substr(0, 2) == "--" ? name.substr(2) : name);
      if (found == values_.end() || i + 1 == argc) usage(argv[0]);
      found->second = argv[i + 1];
    }
  }

  const std::string& text(const std::string& name) const { return values_.at(name); }
  double number(const std::string& name) const { return std::atof(text(name).c_str()); }
  std::vector<std::string> list(const std::string& name) const { return split(text(name), ','); }
  std::vector<uint32_t> numbers(const std::string& name) const {
    std::vector<uint32_t> numbers;
    for (const std::string& item : list(name)) numbers.push_back(static_cast<uint32_t>(std::atol(item.c_str())));
    return numbers;
  }

 private:
  [[noreturn]] void usage(const char* program) const {
    std::fprintf(stderr, "usage: %s", program);
    for (const auto& [name, value] : values_) std::fprintf(stderr, " [--%s %s]", name.c_str(), value.c_str());
    std::fprintf(stderr, "\n");
    std::exit(2);
  }

  std::map<std::string, std::string> values_;
};

/// The kernels of a path by name ("best": this CPU's). Ends the process when the path is not here.
inline const kernels::KernelTable& table_named(const std::string& name) {
  const std::string wanted = name == "best" ? base::isa_name(base::best_isa()) : name;
  for (const base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512, base::Isa::kNeon}) {
    if (wanted != base::isa_name(isa)) continue;
    if (const kernels::KernelTable* table = kernels::kernel_table(isa)) return *table;
  }
  std::fprintf(stderr, "no path %s here\n", name.c_str());
  std::exit(1);
}

}  // namespace lutra::bench
