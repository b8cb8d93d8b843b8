// What a salvage says, for people and programs. Paths in it are below the session's root or the target; bytes that are
// no printable UTF-8, and backslashes, are \xNN, as in a flush's report. Plain functions, any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "inspect/salvage_run.h"

namespace mayfly {

std::string_view Text(LossKind kind);

// "partial: a/b: 2 of 3 ...": one line, without its newline; of many gaps a few.
std::string LineOf(const Loss& loss);
std::string LineOf(const WholeName& name);
// With all gaps.
nlohmann::ordered_json DescribeLoss(const Loss& loss);
nlohmann::ordered_json DescribeWhole(const WholeName& name);
nlohmann::ordered_json DescribeSalvaged(const Salvaged& salvaged);
// The counts in one sentence.
std::string SummaryOf(const Salvaged& salvaged);
// A name for a person.
std::string PrintablePath(std::string_view path);

}  // namespace mayfly
