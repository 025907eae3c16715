// The stand-in for libcuda.so.1: contexts, modules, launches and events of a GPU that computes nothing.
//
// Prototypes are those of the driver's API with handles as plain pointers and results as ints.

#include <dlfcn.h>

#include <chrono>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "stand_in.h"

using stand_in::launch_details;
using stand_in::note_work;
using stand_in::text;

namespace {

enum Result {
  SUCCESS = 0,
  INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201,
  NOT_FOUND = 500,
  NOT_SUPPORTED = 801
};

// Handles are addresses that are never read.
char primary_context;

thread_local void* current_context = nullptr;

std::mutex functions_lock;
std::unordered_map<const void*, std::string> function_names;

std::string name_of(const void* function) {
  const std::lock_guard<std::mutex> guard(functions_lock);
  const auto found = function_names.find(function);
  return found == function_names.end() ? "?" : found->second;
}

struct Event {
  std::chrono::steady_clock::time_point recorded;
};

int launch(const void* function, const unsigned (&grid)[3], const unsigned (&block)[3],
           const void* stream) {
  note_work("LAUNCH", name_of(function).c_str(), launch_details("driver", grid, block, stream));
  return current_context ? SUCCESS : INVALID_CONTEXT;
}

int elapsed(float* milliseconds, void* begun, void* ended) {
  // The host's time: a bench that divides by the time needs a value other than 0.
  const std::chrono::duration<float, std::milli> time =
      static_cast<Event*>(ended)->recorded - static_cast<Event*>(begun)->recorded;
  *milliseconds = time.count() > 1e-3f ? time.count() : 1e-3f;
  return SUCCESS;
}

}  // namespace

EXPORTED bool stand_in_has_context() { return current_context != nullptr; }

EXPORTED void stand_in_use_primary_context() {
  if (!current_context) current_context = &primary_context;
}

EXPORTED void* stand_in_driver_function(const char* name) { return dlsym(RTLD_DEFAULT, name); }

// The GPU.

EXPORTED int cuInit(unsigned) { return SUCCESS; }

EXPORTED int cuDriverGetVersion(int* version) {
  *version = stand_in::DRIVER_VERSION;
  return SUCCESS;
}

EXPORTED int cuDeviceGetCount(int* count) {
  *count = 1;
  return SUCCESS;
}

EXPORTED int cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return ordinal == 0 ? SUCCESS : INVALID_DEVICE;
}

EXPORTED int cuDeviceGetName(char* name, int length, int) {
  snprintf(name, length, "%s", stand_in::DEVICE_NAME);
  return SUCCESS;
}

EXPORTED int cuDeviceGetAttribute(int* value, int attribute, int) {
  *value = stand_in::device_attribute(attribute);
  return SUCCESS;
}

// Contexts.

EXPORTED int cuDevicePrimaryCtxRetain(void** context, int) {
  *context = &primary_context;
  return SUCCESS;
}

EXPORTED int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) {
  *flags = 0;
  *active = 1;
  return SUCCESS;
}

EXPORTED int cuCtxGetCurrent(void** context) {
  *context = current_context;
  return SUCCESS;
}

EXPORTED int cuCtxSetCurrent(void* context) {
  current_context = context;
  return SUCCESS;
}

EXPORTED int cuStreamGetCtx(void*, void** context) {
  *context = &primary_context;
  return SUCCESS;
}

// Modules and launches.

EXPORTED int cuModuleLoadData(void** module, const void*) {
  note_work("LOAD", "module", "");
  *module = new char;
  return current_context ? SUCCESS : INVALID_CONTEXT;
}

EXPORTED int cuModuleLoadDataEx(void** module, const void* image, unsigned, void*, void*) {
  return cuModuleLoadData(module, image);
}

EXPORTED int cuModuleUnload(void* module) {
  delete static_cast<char*>(module);
  return SUCCESS;
}

EXPORTED int cuModuleGetFunction(void** function, void*, const char* name) {
  *function = new char;
  const std::lock_guard<std::mutex> guard(functions_lock);
  function_names[*function] = name;
  return SUCCESS;
}

EXPORTED int cuFuncGetAttribute(int* value, int attribute, const void*) {
  constexpr int MAX_THREADS = 0, REGISTERS_PER_THREAD = 4;
  *value = attribute == MAX_THREADS            ? stand_in::THREADS_PER_BLOCK
           : attribute == REGISTERS_PER_THREAD ? 32
                                               : 0;
  return SUCCESS;
}

EXPORTED int cuFuncSetAttribute(void*, int, int) { return SUCCESS; }

EXPORTED int cuFuncSetCacheConfig(void*, int) { return SUCCESS; }

EXPORTED int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void*, int, size_t) {
  *blocks = 8;
  return SUCCESS;
}

EXPORTED int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                            unsigned block_x, unsigned block_y, unsigned block_z, unsigned,
                            void* stream, void**, void**) {
  return launch(function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, stream);
}

// CUlaunchConfig the fields that are read here.
struct LaunchConfig {
  unsigned grid[3];
  unsigned block[3];
  unsigned shared_bytes;
  void* stream;
};

EXPORTED int cuLaunchKernelEx(const LaunchConfig* config, void* function, void**, void**) {
  return launch(function, config->grid, config->block, config->stream);
}

// Events.

EXPORTED int cuEventCreate(void** event, unsigned) {
  *event = new Event;
  return current_context ? SUCCESS : INVALID_CONTEXT;
}

EXPORTED int cuEventDestroy_v2(void* event) {
  delete static_cast<Event*>(event);
  return SUCCESS;
}

EXPORTED int cuEventRecord(void* event, void* stream) {
  static_cast<Event*>(event)->recorded = std::chrono::steady_clock::now();
  note_work("EVENT", "cuEventRecord", text("stream=%p", stream));
  return current_context ? SUCCESS : INVALID_CONTEXT;
}

EXPORTED int cuEventQuery(void*) { return SUCCESS; }

EXPORTED int cuEventSynchronize(void*) {
  note_work("SYNCHRONIZE", "cuEventSynchronize", "");
  return SUCCESS;
}

EXPORTED int cuEventElapsedTime(float* milliseconds, void* begun, void* ended) {
  return elapsed(milliseconds, begun, ended);
}

EXPORTED int cuEventElapsedTime_v2(float* milliseconds, void* begun, void* ended) {
  return elapsed(milliseconds, begun, ended);
}

EXPORTED int cuStreamSynchronize(void*) {
  note_work("SYNCHRONIZE", "cuStreamSynchronize", "");
  return SUCCESS;
}

EXPORTED int cuCtxSynchronize() {
  note_work("SYNCHRONIZE", "cuCtxSynchronize", "");
  return SUCCESS;
}

// Errors, and functions by their name.

EXPORTED int cuGetErrorName(int, const char** name) {
  *name = "STAND_IN_ERROR";
  return SUCCESS;
}

EXPORTED int cuGetErrorString(int, const char** words) {
  *words = "an error of the stand-in for a GPU";
  return SUCCESS;
}

EXPORTED int cuGetProcAddress_v2(const char* name, void** function, int, uint64_t, int* status) {
  constexpr int FOUND = 0, NO_SUCH_FUNCTION = 1;
  *function = stand_in_driver_function(name);
  if (status) *status = *function ? FOUND : NO_SUCH_FUNCTION;
  return *function ? SUCCESS : NOT_FOUND;
}

// Tables of functions that NVIDIA's libraries share with the driver. NVRTC looks for its cache through
// one: it works without it where the driver refuses, and crashes where the driver lacks this function.
EXPORTED int cuGetExportTable(const void** table, const void*) {
  *table = nullptr;
  return NOT_SUPPORTED;
}
