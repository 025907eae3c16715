// The stand-in for libcudart.so.13: memory, copies, streams and events as libtorch asks for them.
//
// Prototypes are those of the runtime's API with handles as plain pointers and results as ints. A
// call that the real library answers with a context makes the primary one current here, too.

#include <algorithm>
#include <chrono>
#include <cstring>

#include "memory.h"
#include "stand_in.h"

using stand_in::Memory;
using stand_in::note_work;
using stand_in::text;

namespace {

enum Result { SUCCESS = 0, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, NOT_READY = 600 };

// Never destroyed: libtorch gives memory back after the destructors of this library.
stand_in::Blocks& blocks() {
  static auto* const blocks = new stand_in::Blocks;
  return *blocks;
}

struct Event {
  std::chrono::steady_clock::time_point recorded;
};

// cudaDeviceProp of CUDA 13.0, as far as libtorch reads it.
struct DeviceProperties {
  char name[256];
  char identity[32];
  size_t memory;
  size_t shared_per_block;
  int registers_per_block;
  int warp;
  size_t pitch;
  int threads_per_block;
  int block_dimensions[3];
  int grid_dimensions[3];
  size_t constant_memory;
  int major;
  int minor;
  size_t texture_alignment;
  size_t texture_pitch_alignment;
  int multiprocessors;
  int integrated;
  int maps_host_memory;
  char textures_and_surfaces[164];
  int concurrent_kernels;
  char bus[24];
  int unified_addressing;
  int bus_bits;
  int l2_cache;
  int persisting_l2_cache;
  int threads_per_multiprocessor;
  char caches[12];
  size_t shared_per_multiprocessor;
  int registers_per_multiprocessor;
  char features[32];
  int cooperative_launch;
  size_t shared_per_block_opt_in;
  char page_tables[8];
  int blocks_per_multiprocessor;
  char rest[316];
};
static_assert(offsetof(DeviceProperties, memory) == 288);
static_assert(offsetof(DeviceProperties, threads_per_block) == 320);
static_assert(offsetof(DeviceProperties, grid_dimensions) == 336);
static_assert(offsetof(DeviceProperties, major) == 360);
static_assert(offsetof(DeviceProperties, multiprocessors) == 384);
static_assert(offsetof(DeviceProperties, concurrent_kernels) == 560);
static_assert(offsetof(DeviceProperties, unified_addressing) == 588);
static_assert(offsetof(DeviceProperties, l2_cache) == 596);
static_assert(offsetof(DeviceProperties, threads_per_multiprocessor) == 604);
static_assert(offsetof(DeviceProperties, shared_per_multiprocessor) == 624);
static_assert(offsetof(DeviceProperties, cooperative_launch) == 668);
static_assert(offsetof(DeviceProperties, shared_per_block_opt_in) == 672);
static_assert(offsetof(DeviceProperties, blocks_per_multiprocessor) == 688);
static_assert(sizeof(DeviceProperties) == 1008);

// cudaPointerAttributes.
struct PointerAttributes {
  int memory;  // cudaMemoryType: 0 unregistered, 1 host, 2 device
  int device;
  void* on_device;
  void* on_host;
  long reserved[8];
};
static_assert(sizeof(PointerAttributes) == 88);

const char* place(Memory memory) { return memory == Memory::DEVICE ? "device" : "host"; }

// Logs a copy, and performs it if one end is host memory. Copies within the GPU are not performed: no kernel
// has computed anything.
void copy(void* to, const void* from, size_t bytes, const void* stream) {
  stand_in_use_primary_context();
  const Memory target = blocks().of(to), source = blocks().of(from);
  const bool within_device = target == Memory::DEVICE && source == Memory::DEVICE;
  const Memory host = target == Memory::DEVICE ? source : target;
  const char* kind = within_device              ? "device"
                     : host == Memory::PINNED   ? "pinned"
                                                : "pageable";
  const std::string name = text("%s to %s", place(source), place(target));
  note_work("COPY", name.c_str(), text("bytes=%zu memory=%s stream=%p", bytes, kind, stream));
  if (!within_device) memcpy(to, from, bytes);
}

void set(void* to, int value, size_t bytes, const void* stream) {
  stand_in_use_primary_context();
  note_work("MEMSET", "memset", text("bytes=%zu stream=%p", bytes, stream));
  // Large blocks are not written, which would use up the host's memory.
  constexpr size_t LARGE = 1 << 20;
  if (bytes <= LARGE) memset(to, value, bytes);
}

int take(void** address, size_t bytes, Memory memory, const char* name) {
  stand_in_use_primary_context();
  *address = blocks().take(bytes, memory);
  if (!*address) return OUT_OF_MEMORY;
  note_work("ALLOCATE", name, text("bytes=%zu", bytes));
  return SUCCESS;
}

int give_back(void* address, const char* name) {
  stand_in_use_primary_context();
  // Programs free null to initialize the runtime.
  if (address) note_work("FREE", name, text("bytes=%zu", blocks().remove(address)));
  return SUCCESS;
}

int synchronize(const char* function) {
  stand_in_use_primary_context();
  note_work("SYNCHRONIZE", function, "");
  return SUCCESS;
}

int record(void* event, const void* stream) {
  static_cast<Event*>(event)->recorded = std::chrono::steady_clock::now();
  note_work("EVENT", "cudaEventRecord", text("stream=%p", stream));
  return SUCCESS;
}

}  // namespace

// The GPU.

EXPORTED int cudaGetDeviceCount(int* count) {
  *count = 1;
  return SUCCESS;
}

EXPORTED int cudaGetDevice(int* device) {
  *device = 0;
  return SUCCESS;
}

EXPORTED int cudaSetDevice(int device) {
  if (device != 0) return INVALID_DEVICE;
  stand_in_use_primary_context();
  return SUCCESS;
}

EXPORTED int cudaDriverGetVersion(int* version) {
  *version = stand_in::DRIVER_VERSION;
  return SUCCESS;
}

EXPORTED int cudaRuntimeGetVersion(int* version) {
  *version = stand_in::DRIVER_VERSION;
  return SUCCESS;
}

EXPORTED int cudaGetDeviceProperties(DeviceProperties* to, int) {
  *to = DeviceProperties{};
  snprintf(to->name, sizeof to->name, "%s", stand_in::DEVICE_NAME);
  to->memory = stand_in::MEMORY;
  to->shared_per_block = stand_in::SHARED_PER_BLOCK;
  to->registers_per_block = stand_in::REGISTERS;
  to->warp = stand_in::WARP;
  to->threads_per_block = stand_in::THREADS_PER_BLOCK;
  to->block_dimensions[0] = to->block_dimensions[1] = 1024;
  to->block_dimensions[2] = 64;
  to->grid_dimensions[0] = 2147483647;
  to->grid_dimensions[1] = to->grid_dimensions[2] = 65535;
  to->constant_memory = 64 << 10;
  to->major = stand_in::CAPABILITY_MAJOR;
  to->minor = stand_in::CAPABILITY_MINOR;
  to->texture_alignment = 512;
  to->multiprocessors = stand_in::MULTIPROCESSORS;
  to->maps_host_memory = 1;
  to->concurrent_kernels = 1;
  to->unified_addressing = 1;
  to->bus_bits = stand_in::BUS_BITS;
  to->l2_cache = stand_in::L2_CACHE;
  to->threads_per_multiprocessor = stand_in::THREADS_PER_MULTIPROCESSOR;
  to->shared_per_multiprocessor = stand_in::SHARED_PER_MULTIPROCESSOR;
  to->registers_per_multiprocessor = stand_in::REGISTERS;
  to->cooperative_launch = 1;
  to->shared_per_block_opt_in = stand_in::SHARED_PER_BLOCK_OPT_IN;
  to->blocks_per_multiprocessor = stand_in::BLOCKS_PER_MULTIPROCESSOR;
  return SUCCESS;
}

EXPORTED int cudaDeviceGetAttribute(int* value, int attribute, int) {
  *value = stand_in::device_attribute(attribute);
  return SUCCESS;
}

EXPORTED int cudaDeviceGetPCIBusId(char* id, int length, int) {
  snprintf(id, length, "0000:00:00.0");
  return SUCCESS;
}

EXPORTED int cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  stand_in_use_primary_context();
  *least = 0;
  *greatest = -5;
  return SUCCESS;
}

EXPORTED int cudaDeviceCanAccessPeer(int* can, int, int) {
  *can = 0;
  return SUCCESS;
}

EXPORTED int cudaDeviceSynchronize() { return synchronize("cudaDeviceSynchronize"); }

// Memory.

EXPORTED int cudaMalloc(void** address, size_t bytes) {
  return take(address, bytes, Memory::DEVICE, "device memory");
}

EXPORTED int cudaFree(void* address) { return give_back(address, "device memory"); }

EXPORTED int cudaMallocAsync(void** address, size_t bytes, void*) {
  return cudaMalloc(address, bytes);
}

EXPORTED int cudaFreeAsync(void* address, void*) { return cudaFree(address); }

EXPORTED int cudaHostAlloc(void** address, size_t bytes, unsigned) {
  return take(address, bytes, Memory::PINNED, "pinned memory");
}

EXPORTED int cudaMallocHost(void** address, size_t bytes) {
  return cudaHostAlloc(address, bytes, 0);
}

EXPORTED int cudaFreeHost(void* address) { return give_back(address, "pinned memory"); }

EXPORTED int cudaHostRegister(void* address, size_t bytes, unsigned) {
  blocks().add(address, bytes, Memory::PINNED);
  note_work("ALLOCATE", "pinned memory", text("bytes=%zu", bytes));
  return SUCCESS;
}

EXPORTED int cudaHostUnregister(void* address) { return give_back(address, "pinned memory"); }

EXPORTED int cudaMemGetInfo(size_t* free, size_t* total) {
  *total = stand_in::MEMORY;
  *free = stand_in::MEMORY - std::min(stand_in::MEMORY, blocks().device_bytes());
  return SUCCESS;
}

EXPORTED int cudaPointerGetAttributes(PointerAttributes* to, const void* pointer) {
  *to = PointerAttributes{};
  const Memory memory = blocks().of(pointer);
  to->memory = memory == Memory::DEVICE ? 2 : memory == Memory::PINNED ? 1 : 0;
  to->on_device = memory == Memory::PAGEABLE ? nullptr : const_cast<void*>(pointer);
  to->on_host = memory == Memory::DEVICE ? nullptr : const_cast<void*>(pointer);
  return SUCCESS;
}

EXPORTED int cudaMemcpyAsync(void* to, const void* from, size_t bytes, int, void* stream) {
  copy(to, from, bytes, stream);
  return SUCCESS;
}

EXPORTED int cudaMemcpy(void* to, const void* from, size_t bytes, int) {
  copy(to, from, bytes, nullptr);
  return synchronize("cudaMemcpy");
}

EXPORTED int cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes, void* stream) {
  copy(to, from, bytes, stream);
  return SUCCESS;
}

EXPORTED int cudaMemcpyToSymbol(const void* symbol, const void*, size_t bytes, size_t, int) {
  // Its own copy of the symbol is not kept: no kernel will read it.
  note_work("COPY", "host to device", text("bytes=%zu memory=pageable symbol=%p", bytes, symbol));
  return synchronize("cudaMemcpyToSymbol");
}

EXPORTED int cudaGetSymbolAddress(void** address, const void* symbol) {
  *address = const_cast<void*>(symbol);
  return SUCCESS;
}

EXPORTED int cudaMemsetAsync(void* to, int value, size_t bytes, void* stream) {
  set(to, value, bytes, stream);
  return SUCCESS;
}

EXPORTED int cudaMemset(void* to, int value, size_t bytes) {
  set(to, value, bytes, nullptr);
  return SUCCESS;
}

// Streams.

EXPORTED int cudaStreamCreateWithPriority(void** stream, unsigned, int) {
  stand_in_use_primary_context();
  *stream = new char;
  return SUCCESS;
}

EXPORTED int cudaStreamCreateWithFlags(void** stream, unsigned flags) {
  return cudaStreamCreateWithPriority(stream, flags, 0);
}

EXPORTED int cudaStreamCreate(void** stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }

EXPORTED int cudaStreamDestroy(void* stream) {
  delete static_cast<char*>(stream);
  return SUCCESS;
}

EXPORTED int cudaStreamSynchronize(void*) { return synchronize("cudaStreamSynchronize"); }

EXPORTED int cudaStreamQuery(void*) { return SUCCESS; }

EXPORTED int cudaStreamWaitEvent(void* stream, void*, unsigned) {
  note_work("EVENT", "cudaStreamWaitEvent", text("stream=%p", stream));
  return SUCCESS;
}

EXPORTED int cudaStreamIsCapturing(void*, int* status) {
  *status = 0;
  return SUCCESS;
}

EXPORTED int cudaStreamGetCaptureInfo(void*, int* status, unsigned long long*, void*, void*, void*,
                                      void*) {
  *status = 0;
  return SUCCESS;
}

EXPORTED int cudaStreamGetPriority(void*, int* priority) {
  *priority = 0;
  return SUCCESS;
}

EXPORTED int cudaThreadExchangeStreamCaptureMode(int*) { return SUCCESS; }

// Events.

EXPORTED int cudaEventCreateWithFlags(void** event, unsigned) {
  stand_in_use_primary_context();
  *event = new Event;
  return SUCCESS;
}

EXPORTED int cudaEventCreate(void** event) { return cudaEventCreateWithFlags(event, 0); }

EXPORTED int cudaEventDestroy(void* event) {
  delete static_cast<Event*>(event);
  return SUCCESS;
}

EXPORTED int cudaEventRecord(void* event, void* stream) { return record(event, stream); }

EXPORTED int cudaEventRecordWithFlags(void* event, void* stream, unsigned) {
  return record(event, stream);
}

EXPORTED int cudaEventQuery(void*) { return SUCCESS; }

EXPORTED int cudaEventSynchronize(void*) { return synchronize("cudaEventSynchronize"); }

EXPORTED int cudaEventElapsedTime(float* milliseconds, void* begun, void* ended) {
  // The host's time, as in the driver's stand-in.
  const std::chrono::duration<float, std::milli> time =
      static_cast<Event*>(ended)->recorded - static_cast<Event*>(begun)->recorded;
  *milliseconds = std::max(time.count(), 1e-3f);
  return SUCCESS;
}

// Errors, and functions of the driver by their name.

EXPORTED int cudaGetLastError() { return SUCCESS; }

EXPORTED int cudaPeekAtLastError() { return SUCCESS; }

EXPORTED const char* cudaGetErrorName(int) { return "standInError"; }

EXPORTED const char* cudaGetErrorString(int) { return "an error of the stand-in for a GPU"; }

EXPORTED int cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                              unsigned long long, int* status) {
  constexpr int FOUND = 0, NO_SUCH_FUNCTION = 1;
  *function = stand_in_driver_function(name);
  if (status) *status = *function ? FOUND : NO_SUCH_FUNCTION;
  return SUCCESS;
}
