// The other part of the stand-in for libcudart.so.13: the kernels that libraries register when they are
// loaded, and their launches.

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "stand_in.h"

namespace {

constexpr int SUCCESS = 0;

// dim3, which is passed by value.
struct Dimensions {
  unsigned x, y, z;
};

// What a launch with <<<...>>> pushes before it calls the kernel's stub on the host, which pops it.
struct Configuration {
  Dimensions grid, block;
  size_t shared_bytes;
  void* stream;
};
thread_local std::vector<Configuration> configurations;

class Kernels {
 public:
  // libtorch registers tens of thousands: their names are kept as they are until one is launched.
  void add(const void* host_function, const char* mangled) {
    const std::lock_guard<std::mutex> guard(lock_);
    mangled_[host_function] = mangled;
  }

  const std::string& name(const void* host_function) {
    const std::lock_guard<std::mutex> guard(lock_);
    const auto [named, first] = names_.try_emplace(host_function, "?");
    const auto found = mangled_.find(host_function);
    if (first && found != mangled_.end()) named->second = demangled(found->second);
    return named->second;
  }

 private:
  static std::string demangled(const char* mangled) {
    int status = 0;
    char* const words = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
    const std::string name = words ? words : mangled;
    free(words);
    return name;
  }

  std::mutex lock_;
  std::unordered_map<const void*, const char*> mangled_;
  std::unordered_map<const void*, std::string> names_;
};

Kernels& kernels() {
  static auto* const kernels = new Kernels;
  return *kernels;
}

int launch(const void* host_function, Dimensions grid, Dimensions block, const void* stream) {
  stand_in_use_primary_context();
  stand_in::note_work("LAUNCH", kernels().name(host_function).c_str(),
                      stand_in::launch_details("runtime", {grid.x, grid.y, grid.z},
                                               {block.x, block.y, block.z}, stream));
  return SUCCESS;
}

// cudaLaunchConfig_t, the fields that are read here.
struct LaunchConfiguration {
  Dimensions grid, block;
  size_t shared_bytes;
  void* stream;
};
static_assert(offsetof(LaunchConfiguration, stream) == 32);

// cudaFuncAttributes of CUDA 13.0.
struct FunctionAttributes {
  size_t shared_bytes, constant_bytes, local_bytes;
  int threads_per_block;
  int registers;
  int ptx_version;
  int binary_version;
  int caching;
  int dynamic_shared_bytes;
  char rest[96];
};
static_assert(offsetof(FunctionAttributes, dynamic_shared_bytes) == 44);
static_assert(sizeof(FunctionAttributes) == 144);

}  // namespace

// Called by the constructors of libraries that hold kernels.

EXPORTED void** __cudaRegisterFatBinary(void*) {
  static void* handle;
  return &handle;
}

EXPORTED void __cudaRegisterFatBinaryEnd(void**) {}

EXPORTED void __cudaUnregisterFatBinary(void**) {}

EXPORTED char __cudaInitModule(void**) { return 0; }

EXPORTED void __cudaRegisterFunction(void**, const char* host_function, char*, const char* name,
                                     int, void*, void*, void*, void*, int*) {
  kernels().add(host_function, name);
}

EXPORTED void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}

// Launches.

EXPORTED unsigned __cudaPushCallConfiguration(Dimensions grid, Dimensions block,
                                              size_t shared_bytes, void* stream) {
  configurations.push_back({grid, block, shared_bytes, stream});
  return SUCCESS;
}

EXPORTED int __cudaPopCallConfiguration(Dimensions* grid, Dimensions* block, size_t* shared_bytes,
                                        void* stream) {
  constexpr int MISSING_CONFIGURATION = 52;
  if (configurations.empty()) return MISSING_CONFIGURATION;
  const Configuration top = configurations.back();
  configurations.pop_back();
  *grid = top.grid;
  *block = top.block;
  *shared_bytes = top.shared_bytes;
  memcpy(stream, &top.stream, sizeof top.stream);
  return SUCCESS;
}

EXPORTED int __cudaGetKernel(const void** kernel, const void* host_function) {
  *kernel = host_function;
  return SUCCESS;
}

EXPORTED int __cudaLaunchKernel(const void* kernel, Dimensions grid, Dimensions block, void**,
                                size_t, void* stream) {
  return launch(kernel, grid, block, stream);
}

EXPORTED int cudaLaunchKernel(const void* host_function, Dimensions grid, Dimensions block, void**,
                              size_t, void* stream) {
  return launch(host_function, grid, block, stream);
}

EXPORTED int cudaLaunchCooperativeKernel(const void* host_function, Dimensions grid,
                                         Dimensions block, void**, size_t, void* stream) {
  return launch(host_function, grid, block, stream);
}

EXPORTED int cudaLaunchKernelExC(const LaunchConfiguration* configuration,
                                 const void* host_function, void**) {
  return launch(host_function, configuration->grid, configuration->block, configuration->stream);
}

// What a kernel takes, which decides how libtorch launches it.

EXPORTED int cudaFuncGetAttributes(FunctionAttributes* to, const void*) {
  *to = FunctionAttributes{};
  to->threads_per_block = stand_in::THREADS_PER_BLOCK;
  to->registers = 32;
  to->ptx_version = to->binary_version =
      10 * stand_in::CAPABILITY_MAJOR + stand_in::CAPABILITY_MINOR;
  to->dynamic_shared_bytes = stand_in::SHARED_PER_BLOCK;
  return SUCCESS;
}

EXPORTED int cudaFuncSetAttribute(const void*, int, int) { return SUCCESS; }

EXPORTED int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int,
                                                                    size_t, unsigned) {
  *blocks = 8;
  return SUCCESS;
}

EXPORTED int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* function,
                                                           int threads, size_t shared_bytes) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads,
                                                                shared_bytes, 0);
}
