// Tells GPU addresses, pinned host memory and pageable host memory apart.
//
// GPU memory is host memory here. Pages that are never written take no space, so a model of several
// gigabytes fits.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <map>
#include <mutex>

namespace stand_in {

enum class Memory { PAGEABLE, PINNED, DEVICE };

class Blocks {
 public:
  // Memory that reads as zero; null where the system refuses.
  void* take(size_t bytes, Memory memory) {
    void* address = mmap(nullptr, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) return nullptr;
    add(address, bytes, memory, true);
    return address;
  }

  // Host memory that is registered as pinned.
  void add(void* address, size_t bytes, Memory memory, bool mapped = false) {
    const std::lock_guard<std::mutex> guard(lock_);
    blocks_[reinterpret_cast<uintptr_t>(address)] = {bytes, memory, mapped};
    if (memory == Memory::DEVICE) device_bytes_ += bytes;
  }

  // Frees a block and returns its bytes.
  size_t remove(void* address) {
    const std::lock_guard<std::mutex> guard(lock_);
    const auto found = blocks_.find(reinterpret_cast<uintptr_t>(address));
    if (found == blocks_.end()) return 0;
    const Block block = found->second;
    blocks_.erase(found);
    if (block.memory == Memory::DEVICE) device_bytes_ -= block.bytes;
    if (block.mapped) munmap(address, block.bytes ? block.bytes : 1);
    return block.bytes;
  }

  Memory of(const void* pointer) {
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    const std::lock_guard<std::mutex> guard(lock_);
    auto after = blocks_.upper_bound(address);
    if (after == blocks_.begin()) return Memory::PAGEABLE;
    const auto& [begin, block] = *--after;
    return address < begin + block.bytes ? block.memory : Memory::PAGEABLE;
  }

  size_t device_bytes() {
    const std::lock_guard<std::mutex> guard(lock_);
    return device_bytes_;
  }

 private:
  struct Block {
    size_t bytes;
    Memory memory;
    bool mapped;
  };

  std::mutex lock_;
  std::map<uintptr_t, Block> blocks_;
  size_t device_bytes_ = 0;
};

}  // namespace stand_in
