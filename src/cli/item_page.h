// The output of a command that finds things one by one and keeps none: a line each, or with --json one document,
// `{"format":...,"version":1,"ITEMS":[...],REST}`, with progress in between.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/progress.h"

namespace mayfly::cli {

class ItemPage {
 public:
  // `items`: their name in the document.
  ItemPage(bool as_json, const char* command, const char* items)
      : as_json_(as_json),
        begin_(fmt::format(R"({{"format":"mayfly-{}","version":1,"{}":[)", command, items)),
        progress_(command) {}

  // describe(item) is for the document, line(item) for people.
  template <class Item, class Describe, class Line>
  void Add(const Item& item, Describe describe, Line line) {
    progress_.Clear();
    if (as_json_) {
      fmt::print("{}\n{}", count_ == 0 ? begin_ : ",", describe(item).dump());
    } else {
      fmt::print("{}\n", line(item));
    }
    ++count_;
  }
  // The rest of the document: an object.
  void End(const nlohmann::json& rest) {
    progress_.Clear();
    if (!as_json_) return;
    if (count_ == 0) fmt::print("{}", begin_);
    std::string text = rest.dump();
    text[0] = ',';
    fmt::print("]{}\n", text);
    std::fflush(stdout);
  }
  // After a failure: what was begun is closed all the same, with this.
  void Abandon(const nlohmann::json& rest) {
    progress_.Clear();
    if (count_ != 0) End(rest);
  }
  Progress& progress() { return progress_; }

 private:
  const bool as_json_;
  const std::string begin_;
  Progress progress_;
  uint64_t count_ = 0;
};

}  // namespace mayfly::cli
