#include "meta/open_table.h"

#include <algorithm>
#include <map>

namespace mayfly {

void OpenTable::Add(InodeId inode, ClientId process, bool writes) {
  Counts& counts = processes_[process];
  const size_t room = counts.capacity();
  Count& count = counts[inode];
  ++count.opens;
  count.writes |= writes;
  counts_room_ += counts.capacity() - room;
}

bool OpenTable::Remove(InodeId inode, ClientId process) {
  const auto counts = processes_.find(process);
  if (counts == processes_.end()) return false;
  const auto count = counts->second.find(inode);
  if (count == counts->second.end()) return false;
  if (--count->second.opens == 0) Erase(counts->second, count);
  return true;
}

void OpenTable::Erase(Counts& counts, Counts::iterator at) {
  counts.erase(at);
  // A table that once held many is not kept for nothing.
  if (counts.empty() && counts.capacity() > 64) {
    counts_room_ -= counts.capacity();
    counts = Counts();
  }
}

void OpenTable::Set(InodeId inode, ClientId process, uint32_t opens, bool writes) {
  if (opens == 0) {
    const auto counts = processes_.find(process);
    if (counts == processes_.end()) return;
    if (const auto at = counts->second.find(inode); at != counts->second.end()) Erase(counts->second, at);
    return;
  }
  Counts& counts = processes_[process];
  const size_t room = counts.capacity();
  counts[inode] = {opens, writes};
  counts_room_ += counts.capacity() - room;
}

std::vector<ClientId> OpenTable::Processes() const {
  std::vector<ClientId> all;
  all.reserve(processes_.size());
  for (const auto& [process, counts] : processes_) {
    if (!counts.empty()) all.push_back(process);
  }
  return all;
}

std::vector<InodeId> OpenTable::InodesOf(ClientId process) const {
  std::vector<InodeId> all;
  const auto counts = processes_.find(process);
  if (counts == processes_.end()) return all;
  all.reserve(counts->second.size());
  for (const auto& [inode, count] : counts->second) all.push_back(inode);
  return all;
}

uint32_t OpenTable::CountOf(InodeId inode, ClientId process) const {
  const auto counts = processes_.find(process);
  if (counts == processes_.end()) return 0;
  const auto count = counts->second.find(inode);
  return count == counts->second.end() ? 0 : count->second.opens;
}

bool OpenTable::WrittenBy(InodeId inode, ClientId process) const {
  const auto counts = processes_.find(process);
  if (counts == processes_.end()) return false;
  const auto count = counts->second.find(inode);
  return count != counts->second.end() && count->second.writes;
}

bool OpenTable::WrittenByOthers(InodeId inode, ClientId process) const {
  for (const auto& [other, counts] : processes_) {
    if (other == process) continue;
    const auto count = counts.find(inode);
    if (count != counts.end() && count->second.writes) return true;
  }
  return false;
}

std::vector<std::pair<InodeId, uint32_t>> OpenTable::TakeAll(ClientId process) {
  std::vector<std::pair<InodeId, uint32_t>> all;
  const auto counts = processes_.find(process);
  if (counts == processes_.end()) return all;
  for (const auto& [inode, count] : counts->second) all.emplace_back(inode, count.opens);
  counts_room_ -= counts->second.capacity();
  processes_.erase(counts);
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<std::pair<InodeId, uint32_t>> OpenTable::Totals() const {
  std::map<InodeId, uint32_t> totals;
  for (const auto& [process, counts] : processes_) {
    for (const auto& [inode, count] : counts) totals[inode] += count.opens;
  }
  return {totals.begin(), totals.end()};
}

}  // namespace mayfly
