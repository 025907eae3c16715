// Shared by the four stand-ins: the log, this thread's context, the simulated GPU.
//
// The driver's stand-in defines the functions below; the other three are linked against it.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#define EXPORTED extern "C" __attribute__((visibility("default")))

// Writes one event; see README.md for the kinds and the details.
EXPORTED void stand_in_note(const char* kind, const char* name, const char* details);

// Logs a function that no stand-in defines, called through a generated stub.
EXPORTED void stand_in_unknown(const char* function);

// Whether this thread has a current context, and making the primary one current, as the runtime does
// at a thread's first call.
EXPORTED bool stand_in_has_context();
EXPORTED void stand_in_use_primary_context();

// The address of a driver function by its name, null for one that is not known.
EXPORTED void* stand_in_driver_function(const char* name);

namespace stand_in {

// The properties of an H100, except for the name: no run here can be taken for a measurement.
constexpr const char* DEVICE_NAME = "no GPU (stand-in)";
constexpr int DRIVER_VERSION = 13000;
constexpr int CAPABILITY_MAJOR = 9;
constexpr int CAPABILITY_MINOR = 0;
constexpr int MULTIPROCESSORS = 132;
constexpr int WARP = 32;
constexpr int THREADS_PER_BLOCK = 1024;
constexpr int THREADS_PER_MULTIPROCESSOR = 2048;
constexpr int BLOCKS_PER_MULTIPROCESSOR = 32;
constexpr int REGISTERS = 65536;
constexpr int SHARED_PER_BLOCK = 48 << 10;
constexpr int SHARED_PER_BLOCK_OPT_IN = 227 << 10;
constexpr int SHARED_PER_MULTIPROCESSOR = 228 << 10;
constexpr int L2_CACHE = 50 << 20;
constexpr int BUS_BITS = 5120;
constexpr size_t MEMORY = size_t{80} << 30;

// cudaDeviceAttr and CUdevice_attribute have the same numbers.
inline int device_attribute(int attribute) {
  switch (attribute) {
    case 1: return THREADS_PER_BLOCK;
    case 2: case 3: return 1024;  // block dimensions x and y
    case 4: return 64;            // z
    case 5: return 2147483647;    // grid dimension x
    case 6: case 7: return 65535;
    case 8: return SHARED_PER_BLOCK;
    case 9: return 64 << 10;  // constant memory
    case 10: return WARP;
    case 12: case 82: return REGISTERS;
    case 13: return 1980000;  // clock in kHz
    case 16: return MULTIPROCESSORS;
    case 36: return 2619000;  // memory clock in kHz
    case 37: return BUS_BITS;
    case 38: return L2_CACHE;
    case 39: return THREADS_PER_MULTIPROCESSOR;
    case 75: return CAPABILITY_MAJOR;
    case 76: return CAPABILITY_MINOR;
    case 81: return SHARED_PER_MULTIPROCESSOR;
    case 97: return SHARED_PER_BLOCK_OPT_IN;
    case 106: return BLOCKS_PER_MULTIPROCESSOR;
    default: return 1;  // the rest are mostly features, and an H100 has them
  }
}

// printf into a string.
__attribute__((format(printf, 1, 2))) inline std::string text(const char* format, ...) {
  char buffer[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(buffer, sizeof buffer, format, arguments);
  va_end(arguments);
  return buffer;
}

// Logs work for the GPU, and whether the thread had a context.
inline void note_work(const char* kind, const char* name, std::string details) {
  if (!stand_in_has_context()) details += " context=none";
  stand_in_note(kind, name, details.c_str());
}

// The details of a launch. `by` tells our kernels, which come through the driver, from libtorch's.
inline std::string launch_details(const char* by, const unsigned (&grid)[3],
                                  const unsigned (&block)[3], const void* stream) {
  return text("by=%s grid=%ux%ux%u block=%ux%ux%u stream=%p", by, grid[0], grid[1], grid[2],
              block[0], block[1], block[2], stream);
}

}  // namespace stand_in
