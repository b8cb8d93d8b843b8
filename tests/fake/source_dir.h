// Where the project's own files are (documents that tests decode): ctest says so; a test run by hand goes by this file.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace mayfly {

inline std::filesystem::path SourceDir() {
  const char* variable = std::getenv("MAYFLY_SOURCE_DIR");
  if (variable != nullptr && *variable != '\0') return variable;
  return std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
}

}  // namespace mayfly
