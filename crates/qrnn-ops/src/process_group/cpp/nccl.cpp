// Groups on GPUs: c10d::ProcessGroupNCCL of libtorch's CUDA library, which the process has loaded at run time.
//
// Its header needs those of CUDA and NCCL. So its exported constructors are looked up by name and called on memory of
// ours; everything after that is virtual functions of c10d::Backend. Sizes and names are those of libtorch 2.11.

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "shim.h"

namespace {

using Options = c10d::Backend::Options;
using StorePointer = c10::intrusive_ptr<c10d::Store>;
using OptionsPointer = c10::intrusive_ptr<Options>;

// ProcessGroupNCCL::Options::Options(bool high_priority_stream)
constexpr char NEW_OPTIONS[] = "_ZN4c10d16ProcessGroupNCCL7OptionsC1Eb";

// ProcessGroupNCCL::ProcessGroupNCCL(intrusive_ptr<Store>, int rank, int size, intrusive_ptr<Options>); the pointers are
// passed by the address of a temporary, as the Itanium ABI passes types with a destructor.
constexpr char NEW_GROUP[] =
    "_ZN4c10d16ProcessGroupNCCLC1EN3c1013intrusive_ptrINS_5StoreENS1_6detail34intrusive_target_default_null_"
    "typeIS3_EEEEiiNS2_INS0_7OptionsENS5_IS8_EEEE";

// Bytes for an object: the group takes 1,112 and its options 248.
constexpr size_t ROOM = 16 << 10;

using Room = std::unique_ptr<void, void (*)(void*)>;

Room room() { return {std::memset(::operator new(ROOM), 0, ROOM), [](void* at) { ::operator delete(at); }}; }

template <typename Function>
Function* function(const char* name) {
  void* found = dlsym(RTLD_DEFAULT, name);
  if (!found) throw std::runtime_error(std::string("libtorch's CUDA library has no ") + name);
  return reinterpret_cast<Function*>(found);
}

}  // namespace

extern "C" char* qrnn_nccl_open(qrnn_store* store, const char* prefix, int rank, int size, int64_t timeout_ms,
                                qrnn_backend** backend) {
  return concise([&] {
    // By default a thread of NCCL's group ends the process where an operation fails or takes too long. Rust watches
    // the operations itself, and reports an error.
    setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", /*overwrite=*/0);
    setenv("TORCH_NCCL_ENABLE_MONITORING", "0", /*overwrite=*/0);
    auto* new_options = function<void(void*, bool)>(NEW_OPTIONS);
    auto* new_group = function<void(void*, StorePointer*, int, int, OptionsPointer*)>(NEW_GROUP);
    auto options_room = room();
    new_options(options_room.get(), false);
    // From here the object is freed by its own deleting destructor.
    auto options = OptionsPointer::unsafe_steal_from_new(static_cast<Options*>(options_room.release()));
    options->timeout = std::chrono::milliseconds(timeout_ms);
    StorePointer prefixed = c10::make_intrusive<c10d::PrefixStore>(prefix, store->store);
    prefixed->setTimeout(options->timeout);
    auto group_room = room();
    new_group(group_room.get(), &prefixed, rank, size, &options);
    auto group = c10::intrusive_ptr<c10d::Backend>::unsafe_steal_from_new(
        static_cast<c10d::Backend*>(group_room.release()));
    if (group->getBackendName() != "nccl" || group->getRank() != rank) {
      throw std::runtime_error("libtorch's CUDA library has another ProcessGroupNCCL than that of libtorch 2.11");
    }
    *backend = new qrnn_backend{std::move(group)};
  });
}
