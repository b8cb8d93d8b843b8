#include "meta/open_table.h"

#include <algorithm>
#include <map>

namespace mayfly {

void OpenTable::Add(InodeId inode, ClientId process) {
  Counts& counts = processes_[process];
  const size_t room = counts.capacity();
  ++counts[inode];
  counts_room_ += counts.capacity() - room;
}

bool OpenTable::Remove(InodeId inode, ClientId process) {
  const auto counts = processes_.find(process);
  if (counts == processes_.end()) return false;
  const auto count = counts->second.find(inode);
  if (count == counts->second.end()) return false;
  if (--count->second > 0) return true;
  counts->second.erase(count);
  // A table that once held many is not kept for nothing.
  if (counts->second.empty() && counts->second.capacity() > 64) {
    counts_room_ -= counts->second.capacity();
    counts->second = Counts();
  }
  return true;
}

uint32_t OpenTable::CountOf(InodeId inode, ClientId process) const {
  const auto counts = processes_.find(process);
  if (counts == processes_.end()) return 0;
  const auto count = counts->second.find(inode);
  return count == counts->second.end() ? 0 : count->second;
}

std::vector<std::pair<InodeId, uint32_t>> OpenTable::TakeAll(ClientId process) {
  std::vector<std::pair<InodeId, uint32_t>> all;
  const auto counts = processes_.find(process);
  if (counts == processes_.end()) return all;
  all.assign(counts->second.begin(), counts->second.end());
  counts_room_ -= counts->second.capacity();
  processes_.erase(counts);
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<std::pair<InodeId, uint32_t>> OpenTable::Totals() const {
  std::map<InodeId, uint32_t> totals;
  for (const auto& [process, counts] : processes_) {
    for (const auto& [inode, count] : counts) totals[inode] += count;
  }
  return {totals.begin(), totals.end()};
}

}  // namespace mayfly
