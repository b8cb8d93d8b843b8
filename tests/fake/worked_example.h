// The worked examples of a format's page (share/doc/format), which tests decode and build again: in blocks of ```text,
// lines of a name and bytes in hex. Lines of one name are one after the other.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/check.h"
#include "fake/source_dir.h"

namespace mayfly {

using ExamplePage = std::map<std::string, std::vector<uint8_t>>;

// `page`: "wire.md".
inline ExamplePage ReadExample(const std::string& page) {
  std::ifstream file(SourceDir() / "share/doc/format" / page);
  MAYFLY_CHECK(file.good());
  ExamplePage example;
  bool inside = false;
  for (std::string text; std::getline(file, text);) {
    if (text.starts_with("```")) inside = text == "```text";
    if (!inside || text.starts_with("```")) continue;
    std::istringstream words(text);
    std::string name;
    words >> name;
    for (std::string word; words >> word;) example[name].push_back(static_cast<uint8_t>(std::stoul(word, nullptr, 16)));
  }
  return example;
}

}  // namespace mayfly
