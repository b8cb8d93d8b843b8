#include "options.h"

#include <CLI/CLI.hpp>
#include <bit>
#include <charconv>
#include <cstdlib>

#include "journal/format.h"
#include "ring/layout.h"
#include "session/uuid.h"
#include "storage.h"

namespace mayfly {
namespace {

constexpr Nanos kCommitIntervalMax = 60 * kSecond;

constexpr const char* kWhat =
    R"(mayflyd: the servers of a Mayfly session, a filesystem that lives as long as a batch job.

Start it once with your MPI launcher, one process a node. The processes find each other, share their memory as one
filesystem, and serve it until the session is stopped:

  srun --overlap --ntasks-per-node=1 mayflyd --memory 16G --flush-to $PWD/out &
  mpirun --map-by ppr:1:node --bind-to none mayflyd --memory 16G --flush-to $PWD/out &
  mpirun -n 4 --oversubscribe mayflyd --member-per rank --memory 512M &      # to try it out on one machine

  mayfly wait                      # until the servers are ready
  mayfly stage-in input /input     # then use it: mayfly ls, mayfly cp, the C interface, ...
  mayfly stop                      # flush, verify, remove everything

In job scripts the functions of share/mayfly/mayfly-env.sh hide the difference between the launchers.)";

constexpr const char* kEnd =
    R"(The end of a session: `mayfly stop`, or a signal to any of the processes.
  SIGUSR1, SIGUSR2        a scheduler's warning before the time limit: flush and end
  SIGTERM, SIGINT, SIGHUP the same, but the session's files are removed at once, so that a kill leaves nothing behind
                          (mpirun kills one second after SIGTERM: send SIGUSR1 if there is something to flush)
  SIGTERM or SIGINT again end now; what was not flushed is lost
Flushing copies every file to --flush-to and reads it back; without --flush-to nothing is kept. The processes, their
memory and the session's files are gone afterwards, unless it was `mayfly stop --keep`, which flushes nothing and leaves
the session for --recover. What a kill -9 leaves is removed by `mayfly clean`; with
--durability process the same command with --recover brings it back, or `mayflyd --rejoin` a single server, which
--supervise does by itself.

Exit codes: 0 ended, and everything that was to be flushed is verified; 1 ended, but not everything was flushed;
  2 the command line is wrong; 3 the servers could not start (standard error says host, cause and remedy).

Environment: MAYFLY_SESSION (default of --session), MAYFLY_RUNTIME_DIR (node-local directory for memory and session
  files, default /dev/shm/mayfly-UID), UCX_TLS and UCX_NET_DEVICES (which network to use).)";

// CLI11's words, as the cause and remedy of one sentence.
std::string Sentence(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '.')) text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return fmt::format("wrong option ({}); `mayflyd --help` lists the options", text);
}

// A function for CLI::Option::transform or check: "" or what is wrong.
std::string CheckSize(const std::string& text) {
  const auto size = ParseSize(text);
  return size.ok() ? std::string() : size.failure().sentence;
}

std::string CheckInterval(const std::string& text) {
  const auto time = ParseTime(text);
  if (!time.ok()) return time.failure().sentence;
  return *time <= kCommitIntervalMax ? std::string() : fmt::format("{} is longer than a minute", text);
}

std::string CheckChunk(const std::string& text) {
  const auto size = ParseSize(text);
  if (!size.ok()) return size.failure().sentence;
  if (std::has_single_bit(*size) && *size >= uint64_t{1} << kChunkBitsMin && *size <= uint64_t{1} << kChunkBitsMax) {
    return {};
  }
  return fmt::format("{} is no power of two from {} to {}", text, SizeText(uint64_t{1} << kChunkBitsMin),
                     SizeText(uint64_t{1} << kChunkBitsMax));
}

std::string CheckJournal(const std::string& text) {
  const auto size = ParseSize(text);
  if (!size.ok()) return size.failure().sentence;
  // The tail that lies in memory has a size of its own, and needs a ring that is larger.
  if (!CheckWindowBytes(WindowBytes(*size), *size).empty()) {
    return fmt::format("{} is too small for a journal: give 2M or more", text);
  }
  return CheckJournalBytes(*size);
}

// CLI11's own, without their text in --help, where ours says it.
CLI::Validator OneOf(std::vector<std::string> words) { return CLI::IsMember(std::move(words)).description(""); }
constexpr double kFlushByMax = 4e6;  // its milliseconds fit into 32 bits
CLI::Validator Between(uint32_t least, uint32_t most) { return CLI::Range(least, most).description(""); }

std::string DefaultSession() {
  const char* named = std::getenv("MAYFLY_SESSION");
  // The variable may also hold the uuid of a session, which is no place for a file.
  if (named != nullptr && *named != 0 && !ParseUuid(named)) return named;
  return "mayfly-session.json";
}

}  // namespace

Outcome<uint64_t> ParseSize(std::string_view text) {
  const auto wrong = [&] { return Fail(Code::kInvalid, "{} is no size; write it like 65536, 512M, 1.5G or 1T", text); };
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  if (error != std::errc() || !(number >= 0)) return wrong();
  int shift = 0;
  if (!unit.empty()) {
    constexpr std::string_view kUnits = "KMGT";
    const size_t at = kUnits.find(static_cast<char>(std::toupper(static_cast<unsigned char>(unit.front()))));
    if (at == std::string_view::npos) return wrong();
    shift = 10 * static_cast<int>(at + 1);
    unit.remove_prefix(1);
    if (!unit.empty() && unit != "B" && unit != "iB") return wrong();
  }
  const double bytes = number * static_cast<double>(uint64_t{1} << shift);
  if (bytes >= 0x1p62) return wrong();
  return static_cast<uint64_t>(bytes);
}

Outcome<Nanos> ParseTime(std::string_view text) {
  constexpr std::pair<std::string_view, Nanos> kUnits[] = {{"us", kMicrosecond}, {"ms", kMillisecond}, {"s", kSecond}};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  for (const auto& [name, nanos] : kUnits) {
    if (error == std::errc() && number >= 0 && unit == name && number * static_cast<double>(nanos) < 0x1p62) {
      return static_cast<Nanos>(number * static_cast<double>(nanos));
    }
  }
  if (text == "0") return Nanos{0};
  return Fail(Code::kInvalid, "{} is no time; write it like 500us, 10ms or 1.5s", text);
}

std::string SizeText(uint64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  auto size = static_cast<double>(bytes);
  for (; size >= 1024 && unit + 1 < std::size(kUnits); ++unit) size /= 1024;
  const bool whole = size == static_cast<double>(static_cast<uint64_t>(size)) || size >= 100;
  return whole ? fmt::format("{:.0f} {}", size, kUnits[unit]) : fmt::format("{:.1f} {}", size, kUnits[unit]);
}

std::string ServerOptions::Common() const {
  return fmt::format(
      "--member-per {}\n--durability {}\n--fsync {}\n--dir {}\n--capacity {}\n--evict {}\n--journal-bytes "
      "{}\n--commit-interval {} ns\n--recover {}\n--replay {}\n--supervise {}\n--shards {}\n--session "
      "{}\n--flush-to {}\n--flush-by {}\n--no-flush {}\n--chunk {}\n"
      "--checksum {}\n--tls {}\n--rendezvous {}\n--start-timeout {}\n--version {}\n",
      member_per == MemberPer::kNode ? "node" : "rank", TextOf(durability), TextOf(fsync), dir, capacity_bytes,
      TextOf(evict), journal_bytes, commit_interval,
      !recover   ? "no"
      : degraded ? "degraded"
                 : "all",
      dry_run ? "dry-run" : "on", supervise, shards, session, flush_to, flush_by_s, !flush_at_end,
      uint64_t{1} << chunk_bits, checksums ? "xxh3" : "none", ucx.tls, ucx.eager_bytes_max, start_timeout_s,
      MAYFLY_VERSION);
}

CommandLine ParseCommandLine(int argc, char** argv) {
  CommandLine line;
  ServerOptions& o = line.options;
  o.session = DefaultSession();
  std::string member_per = "node", memory, chunk, checksum = "xxh3", rendezvous, log_level = "info";
  std::string durability = "none", fsync = "commit", evict = "lru", journal_bytes, capacity;
  std::string commit_interval, journal_full = "wait", recover, replay = "on";
  bool no_flush = false;
  uint16_t member_number = 0;

  CLI::App app(kWhat, "mayflyd");
  app.footer(kEnd);
  app.set_version_flag("--version", std::string("mayflyd ") + MAYFLY_VERSION);
  app.get_formatter()->column_width(26);
  const auto option = [&](const char* name, auto& value, const char* what, const char* type) {
    return app.add_option(name, value, what)->type_name(type)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  };
  option("--memory", memory,
         "memory that each member may take for files and their names, like 1G or 512M (default: a quarter of what is\n"
         "free on the node, which is printed)",
         "SIZE")
      ->check(CheckSize);
  option("--session", o.session,
         "session file: where clients find the servers; on a filesystem that all nodes see (default:\n"
         "$MAYFLY_SESSION, else ./mayfly-session.json)",
         "FILE");
  option("--flush-to", o.flush_to, "directory on the parallel filesystem that gets everything at the end", "DIR");
  option("--flush-by", o.flush_by_s,
         "flush for so long at most at the end; the newest files come first, and what did not make it is named\n"
         "(default: no limit)",
         "SECONDS")
      ->check(CLI::Range(0.0, kFlushByMax).description(""));
  app.add_flag("--no-flush", no_flush, "when a signal ends the session, flush nothing");
  option("--durability", durability,
         "what an acknowledged operation survives: none, nothing; process, a kill of any or all servers, which are\n"
         "started again with --recover; node, a loss of power as well, with what was synced or closed in --dir\n"
         "(default: none)",
         "none|process|node")
      ->check(OneOf({"none", "process", "node"}));
  CLI::Option* fsync_option =
      option("--fsync", fsync,
             "at --durability node, what waits for the disk: commit, fsync and close and what makes files reachable;\n"
             "always, every operation (default: commit)",
             "commit|always")
          ->check(OneOf({"commit", "always"}));
  option("--dir", o.dir,
         "node-local directory for the journals, and at --durability node the files (NVMe), or a block device that\n"
         "you may write, which the node's servers share: all of it is taken; %h is the host, %r the rank, $TMPDIR a\n"
         "variable (default: in memory, beside the files)",
         "DIR");
  CLI::Option* capacity_option =
      option("--capacity", capacity,
             "what each member may take of --dir for the files' data: what memory has no room for lies there alone\n"
             "(default: nothing, and at --durability node twice --memory, or what a device has)",
             "SIZE")
          ->check(CheckSize);
  option("--evict", evict,
         "which data gives its memory up first: that which was not used for longest, or least often (default: lru)",
         "lru|lfu")
      ->check(OneOf({"lru", "lfu"}));
  option("--journal-bytes", journal_bytes, "size of the journal of each server thread (default: what suits)", "SIZE")
      ->check(CheckJournal);
  CLI::Option* interval_option =
      option("--commit-interval", commit_interval,
             "at --durability node, a journal gathers records for so long, like 2ms, before it makes them durable in\n"
             "one go, whether or not somebody waits for it (default: 0, at once for who waits)",
             "TIME")
          ->check(CheckInterval);
  option(
      "--journal-full", journal_full,
      "what changes do when a journal has no room: wait for its checkpoint (default); drop-oldest is refused, as it\n"
      "would lose what was acknowledged",
      "wait")
      ->check(OneOf({"wait", "drop-oldest"}));
  CLI::Option* recover_option =
      option("--recover", recover,
             "bring back the session of the session file, whose servers were killed or stopped with --keep: on the\n"
             "same nodes, with as many processes, in any order; degraded: although members are missing, to read what\n"
             "the others hold and to flush it; what is missing gives errors and is listed at the end",
             "[all|degraded]")
          ->expected(0, 1)
          ->default_str("all")
          ->check(OneOf({"all", "degraded"}));
  CLI::Option* replay_option =
      option("--replay", replay,
             "with --recover: on (default); dry-run, read the journals, say what a recovery would bring back and what\n"
             "is damaged, and end without having written anything",
             "on|dry-run")
          ->check(OneOf({"on", "dry-run"}));
  app.add_flag("--rejoin", o.rejoin,
               "bring back a member of a living session whose process on this node was killed; without the launcher,\n"
               "one process a member");
  CLI::Option* member =
      option("--member", member_number, "with --rejoin: this member (default: one that is dead on this node)", "N");
  app.add_flag(
      "--supervise", o.supervise,
      "with --durability process: a small parent of each server starts it again when it dies, by --rejoin, while\n"
      "the others serve; it gives up after five deaths within a minute");
  option("--member-per", member_per,
         "what a member of the filesystem is: a node, further processes of a node adding threads to it, or a rank,\n"
         "which is for a single machine (default: node)",
         "node|rank")
      ->check(OneOf({"node", "rank"}));
  option("--shards", o.shards, "server threads of each process (default: 1)", "N")->check(Between(1, 255));
  option("--weight", o.weight, "share of the files that this member gets, relative to the others (default: 1)", "N")
      ->check(Between(1, Layout::kWeightMax));
  option("--chunk", chunk, "files are spread over the members in pieces of this size (default: 4M)", "SIZE")
      ->check(CheckChunk);
  option("--checksum", checksum, "checksums of data: xxh3 (default) or none", "xxh3|none")
      ->check(OneOf({"xxh3", "none"}));
  option("--tls", o.ucx.tls, "network transports, as UCX_TLS names them (default: what UCX chooses)", "LIST");
  option("--rendezvous", rendezvous, "larger transfers are pulled by their receiver (default: 32K)", "SIZE")
      ->check(CheckSize);
  option("--start-timeout", o.start_timeout_s, "give up if the start takes longer (default: 120)", "SECONDS")
      ->check(Between(1, 86400));
  CLI::Option* level =
      option("--log-level", log_level,
             "debug, info, warn or error (default: info on the first rank, warn on the others)", "LEVEL")
          ->check(OneOf({"debug", "info", "warn", "error"}));

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForVersion& version) {
    line.print = std::string(version.what()) + "\n";
  } catch (const CLI::Success&) {
    line.print = app.help();
  } catch (const CLI::ParseError& error) {
    line.wrong = Sentence(error.what());
  }
  if (!line.print.empty() || !line.wrong.empty()) return line;

  o.member_per = member_per == "rank" ? ServerOptions::MemberPer::kRank : ServerOptions::MemberPer::kNode;
  o.durability = DurabilityOf(durability);
  o.fsync = FsyncOf(fsync);
  if (!capacity.empty()) o.capacity_bytes = *ParseSize(capacity);
  o.evict = EvictOf(evict);
  o.recover = recover_option->count() != 0;
  o.degraded = recover == "degraded";
  o.dry_run = replay == "dry-run";
  if (replay_option->count() != 0 && !o.recover) line.wrong = Sentence("--replay: needs --recover");
  if (journal_full == "drop-oldest") {
    line.wrong = Sentence(
        o.durability == Durability::kNone
            ? "--journal-full drop-oldest: with --durability none there is no journal that could be full"
            : "--journal-full drop-oldest: would lose operations that --durability acknowledges; give a larger "
              "--journal-bytes");
  }
  if (!commit_interval.empty()) o.commit_interval = *ParseTime(commit_interval);
  if (interval_option->count() != 0 && o.durability != Durability::kNode) {
    line.wrong = Sentence("--commit-interval: is for --durability node");
  }
  if (o.durability == Durability::kNode && o.dir.empty() && !o.recover && !o.rejoin) {
    line.wrong = Sentence("--durability node: needs --dir, a directory on a disk of each node");
  }
  if (fsync_option->count() != 0 && o.durability != Durability::kNode) {
    line.wrong = Sentence("--fsync: is for --durability node");
  }
  if (capacity_option->count() != 0 && (o.durability == Durability::kNone || o.dir.empty())) {
    line.wrong = Sentence("--capacity: needs --dir, and --durability process or node");
  }
  if (!journal_bytes.empty()) o.journal_bytes = *ParseSize(journal_bytes);
  if (member->count() != 0) o.rejoin_member = MemberId(member_number);
  if (member->count() != 0 && !o.rejoin) line.wrong = Sentence("--member: needs --rejoin");
  if (o.recover && o.rejoin) line.wrong = Sentence("--recover and --rejoin: one is for all servers, one for a single");
  if (o.supervise && (o.degraded || o.dry_run)) {
    line.wrong = Sentence("--supervise: is not for --recover degraded or --replay dry-run, which change nothing");
  }
  if (o.supervise && o.durability == Durability::kNone && !o.recover && !o.rejoin) {
    line.wrong = Sentence("--supervise: needs --durability process, or there is nothing to bring back");
  }
  o.flush_at_end = !no_flush;
  o.checksums = checksum == "xxh3";
  if (!memory.empty()) o.memory_bytes = *ParseSize(memory);
  if (!memory.empty() && o.memory_bytes == 0) line.wrong = Sentence("--memory: 0 is no memory");
  if (!chunk.empty()) o.chunk_bits = static_cast<uint8_t>(std::countr_zero(*ParseSize(chunk)));
  if (!rendezvous.empty()) o.ucx.eager_bytes_max = *ParseSize(rendezvous);
  if (o.session.empty()) line.wrong = Sentence("--session: an empty path");
  o.log_level = log_level == "debug"   ? LogLevel::kDebug
                : log_level == "warn"  ? LogLevel::kWarn
                : log_level == "error" ? LogLevel::kError
                                       : LogLevel::kInfo;
  o.log_level_given = level->count() != 0;
  return line;
}

}  // namespace mayfly
