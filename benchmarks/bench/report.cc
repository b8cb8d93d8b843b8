#include "report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace bench {
namespace {

double GeometricMean(const Run& run, bool bandwidth) {
  double sum = 0;
  int count = 0;
  for (const Phase& phase : run.phases) {
    if (phase.bandwidth != bandwidth) continue;
    if (phase.score <= 0) return 0;
    sum += std::log(phase.score);
    ++count;
  }
  return count != 0 ? std::exp(sum / count) : 0;
}

const char* UnitOf(const Phase& phase) { return phase.bandwidth ? "GiB/s" : "kIOPS"; }

std::string Conditions(const Run& run) {
  return fmt::format(
      "{} ranks, {} members, {} shards; transport: {}; durability: {}; cache: {}; chunk: {} KiB; checksums: {}",
      run.ranks, run.members, run.shards, run.transport, run.durability, run.cache, run.chunk_bytes >> 10,
      run.checksum ? "XXH3" : "none");
}

std::string Escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += c;
  }
  return out;
}

}  // namespace

Score ScoreOf(const Run& run) {
  Score score;
  score.bandwidth = GeometricMean(run, true);
  score.rate = GeometricMean(run, false);
  score.total = std::sqrt(score.bandwidth * score.rate);
  return score;
}

std::string Text(const Run& run) {
  std::string out = fmt::format("mayfly {}: {}\n", run.version, Conditions(run));
  for (const Phase& phase : run.phases) {
    out += fmt::format("{:<20} {:>12.6f} {:<6} {:>9.3f} s {:>12} operations {:>10.1f} MiB\n", phase.name, phase.score,
                       UnitOf(phase), phase.seconds, phase.operations, static_cast<double>(phase.bytes) / 1048576.0);
  }
  const Score score = ScoreOf(run);
  out += fmt::format("score: bandwidth {:.6f} GiB/s, rates {:.6f} kIOPS, total {:.6f}\n", score.bandwidth, score.rate,
                     score.total);
  if (run.stonewall_seconds < 300) {
    out += fmt::format("(as the IO500 computes it, which demands 300 s a write phase: these had {} s, or what fits)\n",
                       run.stonewall_seconds);
  }
  return out;
}

std::string Json(const Run& run) {
  nlohmann::json phases = nlohmann::json::array();
  for (const Phase& phase : run.phases) {
    phases.push_back({{"name", phase.name},
                      {"score", phase.score},
                      {"unit", UnitOf(phase)},
                      {"seconds", phase.seconds},
                      {"operations", phase.operations},
                      {"bytes", phase.bytes}});
  }
  const Score score = ScoreOf(run);
  const nlohmann::json out = {
      {"version", run.version},
      {"session", run.session},
      {"ranks", run.ranks},
      {"members", run.members},
      {"shards", run.shards},
      {"transport", run.transport},
      {"durability", run.durability},
      {"cache", run.cache},
      {"chunk_bytes", run.chunk_bytes},
      {"checksum", run.checksum},
      {"stonewall_seconds", run.stonewall_seconds},
      {"phases", phases},
      {"score", {{"bandwidth", score.bandwidth}, {"rate", score.rate}, {"total", score.total}}}};
  return out.dump(1) + "\n";
}

std::string Svg(const Run& run) {
  constexpr int kWidth = 860, kBar = 22, kLeft = 190, kRight = 150, kTop = 70;
  const int height = kTop + static_cast<int>(run.phases.size()) * kBar + 60;
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      kWidth, height);
  const Score score = ScoreOf(run);
  out += fmt::format(
      "<text x=\"12\" y=\"24\" font-size=\"16\">Mayfly {}: {:.3f} GiB/s, {:.3f} kIOPS, score {:.3f}</text>\n",
      Escaped(run.version), score.bandwidth, score.rate, score.total);
  out += fmt::format("<text x=\"12\" y=\"44\" fill=\"#555\" font-size=\"10\">{}</text>\n", Escaped(Conditions(run)));
  double most[2] = {1e-9, 1e-9}, least[2] = {1e300, 1e300};
  for (const Phase& phase : run.phases) {
    if (phase.score <= 0) continue;
    most[phase.bandwidth] = std::max(most[phase.bandwidth], phase.score);
    least[phase.bandwidth] = std::min(least[phase.bandwidth], phase.score);
  }
  int y = kTop;
  for (const bool bandwidth : {true, false}) {
    for (const Phase& phase : run.phases) {
      if (phase.bandwidth != bandwidth) continue;
      // From a fifth of the room for the slowest to all of it for the fastest, by logarithms.
      const double range = std::log(most[bandwidth] / least[bandwidth]);
      const double part = phase.score <= 0 ? 0
                          : range < 1e-9   ? 1
                                           : 0.2 + 0.8 * std::log(phase.score / least[bandwidth]) / range;
      const int length = static_cast<int>(part * (kWidth - kLeft - kRight));
      out += fmt::format("<text x=\"12\" y=\"{}\">{}</text>\n", y + 15, Escaped(phase.name));
      out += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>\n", kLeft, y + 3, length,
                         kBar - 6, bandwidth ? "#3a7ca5" : "#d98e04");
      out += fmt::format("<text x=\"{}\" y=\"{}\">{:.3f} {}</text>\n", kLeft + length + 6, y + 15, phase.score,
                         UnitOf(phase));
      y += kBar;
    }
    y += 8;
  }
  out += fmt::format(
      "<text x=\"12\" y=\"{}\" fill=\"#555\" font-size=\"10\">logarithmic, bandwidths and rates apart</text>\n",
      y + 14);
  out += "</svg>\n";
  return out;
}

}  // namespace bench
