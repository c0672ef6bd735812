// Rows of a kernel bench: a Markdown table as they come, and one JSON array at the end.
#pragma once

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace lutra::bench {

struct Cell {
  std::string name;  ///< JSON key and column title
  std::string text;
  bool number;
};

/// Names and texts are identifiers: nothing in them needs escaping.
inline Cell label(std::string name, std::string text) { return {std::move(name), std::move(text), false}; }

inline Cell figure(std::string name, double value, int decimals) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return {std::move(name), text, true};
}

class Report {
 public:
  /// Every row has the same cells in the same order.
  void add(std::vector<Cell> row) {
    if (rows_.empty()) print_head(row);
    for (const Cell& cell : row) std::printf("| %s ", cell.text.c_str());
    std::printf("|\n");
    std::fflush(stdout);
    rows_.push_back(std::move(row));
  }

  /// False when the file cannot be written.
  bool write_json(const std::string& path) const {
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr) return false;
    std::fputs("[", file);
    for (size_t i = 0; i < rows_.size(); ++i) {
      std::fputs(i == 0 ? "\n" : ",\n", file);
      for (size_t j = 0; j < rows_[i].size(); ++j) {
        const Cell& cell = rows_[i][j];
        const char* quote = cell.number ? "" : "\"";
        std::fprintf(file, "%s\"%s\": %s%s%s", j == 0 ? "{" : ", ", cell.name.c_str(), quote, cell.text.c_str(), quote);
      }
      std::fputs("}", file);
    }
    std::fputs("\n]\n", file);
    return std::fclose(file) == 0;
  }

 private:
  static void print_head(const std::vector<Cell>& row) {
    for (const Cell& cell : row) std::printf("| %s ", cell.name.c_str());
    std::printf("|\n");
    for (const Cell& cell : row) std::printf("|%s", cell.number ? "---:" : "---");
    std::printf("|\n");
  }

  std::vector<std::vector<Cell>> rows_;
};

}  // namespace lutra::bench
