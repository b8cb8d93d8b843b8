#include "adapt/ucx/shared_fifo.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace mayfly {

namespace {

// uct_mm_fifo_ctl_t: the head and where its receiver is woken, and two cache lines on the tail and its process id.
constexpr size_t kWakeBytesAt = 8, kWakeAt = 12, kTailAt = 128, kPidAt = 136;
constexpr uint64_t kArmed = uint64_t{1} << 63;  // of the head: the receiver sleeps
constexpr size_t kHeaderBytes[] = {192, 256};   // with cache lines of 64 bytes, of 128
// uct_mm_fifo_element_t
constexpr size_t kFlagsAt = 0, kMessageIdAt = 1, kLengthAt = 2, kSegmentBytesAt = 12;
constexpr uint8_t kOwner = 1, kInline = 2;
// An active message id of UCT that UCP does not use: its handler logs a line and drops the message.
constexpr uint8_t kNobodysId = 31;

std::atomic_ref<uint64_t> Word(uint8_t* at) { return std::atomic_ref<uint64_t>(*reinterpret_cast<uint64_t*>(at)); }
std::atomic_ref<uint8_t> Byte(uint8_t* at) { return std::atomic_ref<uint8_t>(*at); }

struct Mapping {
  uintptr_t begin = 0, end = 0;
  SecondMapping Second() const { return {begin, end - begin}; }
};

// What UCX receives in: System V's or POSIX's shared memory (/dev/zero: what is mapped without a name). Not a file of
// the application, which may be shorter than its mapping, nor a device's registers.
bool IsMemory(std::string_view path) {
  for (const std::string_view start : {"/SYSV", "/dev/shm/ucx_", "/dev/zero"}) {
    if (path.starts_with(start)) return true;
  }
  return false;
}

// The shared writable mappings of this process that are small enough for a FIFO. Each may be gone by now.
std::vector<Mapping> SharedMappings() {
  std::vector<Mapping> mappings;
  const std::unique_ptr<FILE, int (*)(FILE*)> file(fopen("/proc/self/maps", "re"), fclose);
  if (file == nullptr) return mappings;
  char line[512];
  bool start_of_line = true;
  while (fgets(line, sizeof line, file.get()) != nullptr) {
    Mapping mapping;
    char rights[5] = "";
    int path_at = 0;
    const bool mapped =
        start_of_line &&
        sscanf(line, "%zx-%zx %4s %*s %*s %*s %n", &mapping.begin, &mapping.end, rights, &path_at) == 3 &&
        std::strcmp(rights, "rw-s") == 0 && IsMemory(line + path_at);
    start_of_line = std::strchr(line, '\n') != nullptr;
    constexpr size_t kMost = size_t{2} << 20;  // a FIFO on a huge page
    if (mapped && mapping.end - mapping.begin <= kMost) mappings.push_back(mapping);
  }
  return mappings;
}

// The segments for payloads of all elements have one length.
bool AreElements(const uint8_t* elements) {
  uint32_t first = 0;
  std::memcpy(&first, elements + kSegmentBytesAt, sizeof first);
  bool alike = first != 0;
  for (uint32_t i = 1; i < SharedFifo::kElements; ++i) {
    alike &= std::memcmp(elements + i * SharedFifo::kElementBytes + kSegmentBytesAt, &first, sizeof first) == 0;
  }
  return alike;
}
// Before the elements of a FIFO; none if there is no FIFO.
std::optional<size_t> HeaderBytesOf(const uint8_t* memory, size_t bytes) {
  for (const size_t header : kHeaderBytes) {
    if (bytes >= header + SharedFifo::kElements * SharedFifo::kElementBytes && AreElements(memory + header))
      return header;
  }
  return std::nullopt;
}
// Of a slot that is written: it flips with each round.
uint8_t OwnerOf(uint64_t slot) { return slot / SharedFifo::kElements % 2; }

}  // namespace

// An old size of zero asks for a second mapping of the same pages (mremap(2)).
SecondMapping::SecondMapping(uintptr_t address, size_t bytes) : bytes_(bytes) {
  void* const mapped = mremap(reinterpret_cast<void*>(address), 0, bytes, MREMAP_MAYMOVE);
  if (mapped != MAP_FAILED) memory_ = static_cast<uint8_t*>(mapped);
}
SecondMapping::SecondMapping(SecondMapping&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)), bytes_(other.bytes_) {}
SecondMapping& SecondMapping::operator=(SecondMapping&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(bytes_, other.bytes_);
  return *this;
}
SecondMapping::~SecondMapping() {
  if (memory_ != nullptr) munmap(memory_, bytes_);
}

SharedFifo::SharedFifo(void* memory, size_t header_bytes)
    : memory_(static_cast<uint8_t*>(memory)), header_bytes_(header_bytes) {
  (void)WillWake();  // UCX starts with a receiver that sleeps
}

SharedFifo::SharedFifo(SecondMapping mapping, size_t header_bytes) : SharedFifo(mapping.get(), header_bytes) {
  mapping_ = std::move(mapping);
}

bool SharedFifo::IsNew(const void* memory, size_t bytes, size_t* header_bytes) {
  const auto* at = static_cast<const uint8_t*>(memory);
  const std::optional<size_t> header = HeaderBytesOf(at, bytes);
  if (!header) return false;
  uint64_t head, tail;
  uint32_t pid;
  std::memcpy(&head, at, sizeof head);
  std::memcpy(&tail, at + kTailAt, sizeof tail);
  std::memcpy(&pid, at + kPidAt, sizeof pid);
  bool fresh = (head & ~kArmed) == 0 && tail == 0 && pid == static_cast<uint32_t>(getpid());
  // As if of the round before the first.
  for (uint32_t i = 0; i < kElements; ++i) fresh &= at[*header + i * kElementBytes + kFlagsAt] == kOwner;
  if (fresh) *header_bytes = *header;
  return fresh;
}

std::set<uint32_t> SharedFifo::Drain(const std::set<uint32_t>& dead) {
  std::set<uint32_t> found;
  if (dead.empty()) return found;
  for (const Mapping& there : SharedMappings()) {
    const SecondMapping mapping = there.Second();
    uint8_t* const at = mapping.get();
    if (at == nullptr || !HeaderBytesOf(at, mapping.bytes())) continue;
    uint32_t pid;
    std::memcpy(&pid, at + kPidAt, sizeof pid);
    if (!dead.contains(pid)) continue;
    const uint64_t head = Word(at).load(std::memory_order_acquire) & ~kArmed;
    const uint64_t tail = Word(at + kTailAt).load(std::memory_order_relaxed);
    if (tail > head || head - tail > kElements) continue;
    Word(at + kTailAt).store(head, std::memory_order_release);
    found.insert(pid);
  }
  return found;
}

uint64_t SharedFifo::FirstUnwritten() const {
  const uint64_t head = Word(memory_).load(std::memory_order_acquire) & ~kArmed;
  const uint64_t tail = Word(memory_ + kTailAt).load(std::memory_order_relaxed);  // ours; it follows in steps
  for (uint64_t slot = tail; slot < head; ++slot) {
    const uint8_t flags = Byte(element(slot) + kFlagsAt).load(std::memory_order_acquire);
    if ((flags & kOwner) != OwnerOf(slot)) return slot;
  }
  return kNone;
}

bool SharedFifo::Check(uint64_t deaths) {
  const uint64_t slot = FirstUnwritten();
  if (slot != std::exchange(waiting_for_, slot)) checks_ = 0;
  if (slot == kNone) {
    deaths_before_ = deaths;
    return false;
  }
  if (++checks_ < (deaths > deaths_before_ ? kChecksAfterDeath : kChecks)) return false;
  Fill(slot);
  waiting_for_ = kNone;  // deaths_before_ stays: deaths of several senders may have left several
  return true;
}

void SharedFifo::Fill(uint64_t slot) {
  uint8_t* const at = element(slot);
  const uint16_t no_bytes = 0;
  at[kMessageIdAt] = kNobodysId;
  std::memcpy(at + kLengthAt, &no_bytes, sizeof no_bytes);
  Byte(at + kFlagsAt).store(kInline | OwnerOf(slot), std::memory_order_release);
}

bool SharedFifo::WillWake() {
  const bool armed = (Word(memory_).load(std::memory_order_acquire) & kArmed) != 0;
  has_slept_ |= armed;
  return armed || !has_slept_;
}

void SharedFifo::Wake() const {
  uint32_t bytes = 0;
  std::memcpy(&bytes, memory_ + kWakeBytesAt, sizeof bytes);
  sockaddr_un to{};
  if (bytes <= offsetof(sockaddr_un, sun_path) || bytes > sizeof to) return;
  std::memcpy(&to, memory_ + kWakeAt, bytes);
  if (to.sun_family != AF_UNIX) return;
  const int from = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (from < 0) return;
  // Refused, it has some that it did not take yet.
  (void)sendto(from, "", 1, MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&to), bytes);
  close(from);
}

void SharedFifo::TakeSlot(bool writes) {
  uint64_t head = Word(memory_).load();
  while (!Word(memory_).compare_exchange_weak(head, (head + 1) & ~kArmed)) continue;
  if (writes) Fill(head & ~kArmed);
}

SharedFifoFinder::SharedFifoFinder() {
  for (const Mapping& mapping : SharedMappings()) before_.insert(mapping.begin);
}

std::vector<SharedFifo> SharedFifoFinder::Find() const {
  std::vector<SharedFifo> found;
  for (const Mapping& there : SharedMappings()) {
    if (before_.contains(there.begin)) continue;
    SecondMapping mapping = there.Second();
    size_t header_bytes = 0;
    if (mapping.get() != nullptr && SharedFifo::IsNew(mapping.get(), mapping.bytes(), &header_bytes)) {
      found.emplace_back(std::move(mapping), header_bytes);
    }
  }
  return found;
}

}  // namespace mayfly
