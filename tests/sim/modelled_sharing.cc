// What a modelled client does in the directory that it shares with others.
#include <cstdio>

#include "sim/modelled_client.h"

namespace mayfly {
namespace {

std::string RecordOf(uint32_t client, uint64_t number, size_t bytes) {
  return fmt::format("<{}:{}:{}:{}>", client, number, bytes,
                     std::string(bytes, static_cast<char>('a' + (client * 7 + number) % 26)));
}

}  // namespace

Task<void> ModelledClient::Share() {
  const uint64_t number = ++number_;
  if (!shared_->lost.empty()) co_return;
  anywhere_ = true;
  if (OneIn(5) && !options_.disk_faults && !options_.mortal && !options_.gives_up) co_return co_await MoveByOther();
  if (OneIn(4)) {
    const std::string path = fmt::format("{}/{}-{}", SharedModel::kDir, options_.number, number);
    const auto fd = co_await Heard(lane().Open(path, kOpenCreate | kOpenWrite | kOpenExclusive, 0644));
    if (!Told(fd.code(), Code::kOk, "make " + path)) {
      if (InDoubt(fd.code())) shared_->doubtful.insert(path);
      co_return;
    }
    co_await Close(*fd, nullptr);
    std::string last = path;
    if (OneIn(3) && !gone_) {
      last = path + "-moved";
      const Status moved = co_await Heard(lane().Rename(path, last, 0));
      if (!Told(moved.code(), Code::kOk, "rename " + path)) {
        if (InDoubt(moved.code())) {
          shared_->doubtful.insert({path, last});
        } else {
          shared_->made.insert(path);
        }
        co_return;
      }
    }
    if (OneIn(4) && !gone_) {
      const Status removed = co_await Heard(lane().Unlink(last));
      if (Told(removed.code(), Code::kOk, "unlink " + last)) co_return;
      if (InDoubt(removed.code())) shared_->doubtful.insert(last);
    }
    shared_->made.insert(last);
    co_return;
  }
  if (options_.disk_faults || OneIn(3)) {  // half a record would say nothing about the others
    const std::string path = fmt::format("{}/race-{}", SharedModel::kDir, Below(30));
    shared_->races[path] += 0;
    const auto fd = co_await Heard(lane().Open(path, kOpenCreate | kOpenWrite | kOpenExclusive, 0644));
    if (InDoubt(fd.code())) shared_->doubtful.insert(path);
    if (fd.code() != Code::kExists && !Told(fd.code(), Code::kOk, "race for " + path)) co_return;
    Note(static_cast<uint64_t>(fd.code()));
    if (!fd.ok()) co_return;
    ++shared_->races[path];
    co_await Close(*fd, nullptr);
    co_return;
  }
  const auto fd =
      co_await Heard(lane().Open(SharedModel::kLog, kOpenCreate | kOpenWrite | kOpenRead | kOpenAppend, 0644));
  if (options_.mortal) shared_->doubtful.insert(SharedModel::kLog);  // it may be there without a record
  if (!Told(fd.code(), Code::kOk, "open the log")) co_return;
  const FileRef file = client_->mount().files().Find(*fd);
  for (uint64_t n = 1 + Below(3); n > 0; --n) {
    const std::string record = RecordOf(options_.number, ++number_, Below(OneIn(4) ? 60'000 : 500));
    const auto wrote = co_await Heard(lane().Write(file, AsBytes(record)));
    if (gone_) shared_->maybe.insert(record);
    if (!Told(wrote.code(), Code::kOk, fmt::format("append record {} of {}", number_, record.size()))) co_return;
    if (*wrote != record.size()) Fail("a short append to the log");
    shared_->records.insert(record);
    my_records_.insert(record);
  }
  co_await Close(*fd, nullptr);
}

// A directory that this client has walked, and may have cached, is moved by another.
Task<void> ModelledClient::MoveByOther() {
  ModelledClient* const other = shared_->clients[Below(shared_->clients.size())];
  if (other == this) co_return;
  const std::string dir = fmt::format("{}/{}-{}-dir", SharedModel::kDir, options_.number, number_),
                    moved = dir + "-moved";
  const Status made = co_await Heard(lane().Mkdir(dir, 0755));
  if (!Told(made.code(), Code::kOk, "mkdir " + dir)) co_return;
  const auto fd = co_await Heard(lane().Open(dir + "/f", kOpenCreate | kOpenWrite, 0644));
  if (!Told(fd.code(), Code::kOk, "open " + dir + "/f")) co_return;
  co_await Close(*fd, nullptr);
  const Status renamed = co_await other->lane().Rename(dir, moved, 0);
  if (!Told(renamed.code(), Code::kOk, "rename by another of " + dir)) co_return;
  const auto before = co_await Heard(lane().Stat(dir + "/f", false));
  if (!Told(before.code(), Code::kNoEntry, "stat of " + dir + "/f, which was moved")) co_return;
  const auto after = co_await Heard(lane().Stat(moved + "/f", false));
  if (!Told(after.code(), Code::kOk, "stat of " + moved + "/f")) co_return;
  const Status unlinked = co_await other->lane().Unlink(moved + "/f");
  if (!Told(unlinked.code(), Code::kOk, "unlink by another of " + moved + "/f")) co_return;
  const Status removed = co_await Heard(lane().Rmdir(moved));
  (void)Told(removed.code(), Code::kOk, "rmdir " + moved);
}

// What was made in it alone: it is there, or on a server that is gone.
Task<void> ModelledClient::CheckMade() {
  for (const std::string& path : shared_->made) {
    if (shared_->doubtful.contains(path)) continue;
    const auto attr = co_await Heard(lane().Stat(path, false));
    if (Told(attr.code(), Code::kOk, "stat " + path) && attr->type != FileType::kFile) Fail(path + " is no file");
  }
}

Task<void> ModelledClient::CheckShared() {
  anywhere_ = true;
  if (!shared_->lost.empty()) co_return co_await CheckMade();
  const auto attr = co_await Heard(lane().Stat(SharedModel::kLog, false));
  if (!shared_->records.empty() && Told(attr.code(), Code::kOk, "stat of the log")) {
    const auto fd = co_await Heard(lane().Open(SharedModel::kLog, kOpenRead, 0));
    if (!Told(fd.code(), Code::kOk, "open the log")) co_return;
    std::string text(attr->size + 10, '?');
    const auto read = co_await Heard(lane().ReadAt(client_->mount().files().Find(*fd), Room(text), 0));
    if (!Told(read.code(), Code::kOk, "read the log")) co_return;
    co_await Close(*fd, nullptr);
    if (*read != attr->size) Fail(fmt::format("the log has {} bytes, its read {}", attr->size, *read));
    text.resize(*read);
    std::multiset<std::string> found;
    for (size_t at = 0; at < text.size();) {
      uint32_t client = 0;
      uint64_t number = 0;
      size_t bytes = 0;
      int used = 0;
      if (std::sscanf(text.c_str() + at, "<%u:%lu:%zu:%n", &client, &number, &bytes, &used) != 3) {
        Fail(fmt::format("no record begins at {} of the log's {} bytes", at, text.size()));
        co_return;
      }
      const std::string record = text.substr(at, static_cast<size_t>(used) + bytes + 1);
      if (record != RecordOf(client, number, bytes)) Fail(fmt::format("the record at {} is not whole", at));
      found.insert(record);
      at += record.size();
    }
    for (const std::string& record : shared_->maybe) {
      if (const auto it = found.find(record); it != found.end()) found.erase(it);
    }
    if (found != shared_->records) {
      Fail(fmt::format("the log has {} records, not {}", found.size(), shared_->records.size()));
    }
  }
  std::set<std::string> want = shared_->made;
  for (const auto& [path, winners] : shared_->races) {
    if ((options_.disk_faults || options_.mortal) && winners == 0)
      continue;  // all were refused, or one may have made it
    if (winners != 1) Fail(fmt::format("{} were told that they made {}", winners, path));
    want.insert(path);
  }
  if (!shared_->records.empty()) want.insert(SharedModel::kLog);
  auto listing = co_await Heard(Directory::Open(&lane(), SharedModel::kDir));
  if (!Told(listing.code(), Code::kOk, "list /shared")) co_return;
  std::set<std::string> names;
  for (;;) {
    Directory::Entry entry;
    const auto more = co_await Heard((*listing)->Next(&lane(), &entry));
    if (!Told(more.code(), Code::kOk, "next of /shared")) co_return;  // what is not listed may be there
    if (!*more) break;
    if (entry.name != "." && entry.name != ".." && !names.insert(fmt::format("/shared/{}", entry.name)).second) {
      Fail(fmt::format("{} is listed twice", entry.name));
    }
  }
  shared_->names = names.size();
  for (const std::string& path : want) {
    if (!names.contains(path) && !shared_->doubtful.contains(path)) Fail(path + " is gone");
  }
  for (const std::string& path : names) {
    if (!want.contains(path) && !shared_->doubtful.contains(path)) Fail(path + " is there");
  }
}

}  // namespace mayfly
