// Reads the fields of a JSON object that somebody else wrote, remembering the first that is missing or wrong. For files
// of this room.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mayfly {

using Json = nlohmann::ordered_json;

class JsonFields {
 public:
  explicit JsonFields(const Json& json) : json_(json) {}

  std::string Text(const char* name) {
    const Json* field = Find(name);
    if (field == nullptr || !field->is_string()) return Wrong(name), std::string();
    return field->get<std::string>();
  }
  uint64_t Number(const char* name, uint64_t min, uint64_t max) {
    const Json* field = Find(name);
    if (field == nullptr || !field->is_number_unsigned()) return Wrong(name), 0;
    const auto value = field->get<uint64_t>();
    if (value < min || value > max) return Wrong(name), 0;
    return value;
  }
  template <class T>
  T Number(const char* name, uint64_t min = 0, uint64_t max = std::numeric_limits<T>::max()) {
    return static_cast<T>(Number(name, min, max));
  }
  std::vector<std::string> Texts(const char* name) {
    const Json* field = Find(name);
    if (field == nullptr || !field->is_array()) return Wrong(name), std::vector<std::string>();
    std::vector<std::string> texts;
    for (const Json& item : *field) {
      if (!item.is_string()) return Wrong(name), std::vector<std::string>();
      texts.push_back(item.get<std::string>());
    }
    return texts;
  }
  const Json* Find(const char* name) const {
    const auto at = json_.find(name);
    return at == json_.end() ? nullptr : &*at;
  }
  void Wrong(const char* name) {
    if (wrong_.empty()) wrong_ = name;
  }
  const std::string& wrong() const { return wrong_; }

 private:
  const Json& json_;
  std::string wrong_;
};

}  // namespace mayfly
