// libtorch's CUDA streams and memory statistics through virtual interfaces, so that nothing of CUDA is
// needed at link time.

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "../libtorch/guarded.h"

// Writes this thread's current stream of a GPU, a CUstream.
extern "C" char* qrnn_current_cuda_stream(int8_t ordinal, void** stream) {
  return guarded([&] {
    const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    *stream = cuda.getStreamNativeHandle(
        cuda.getStream(c10::Device(c10::DeviceType::CUDA, ordinal)));
  });
}

// Writes the peak memory of tensors on a GPU, in bytes; `reset` starts a new peak.
extern "C" char* qrnn_peak_cuda_memory(int8_t ordinal, bool reset, int64_t* bytes) {
  return guarded([&] {
    auto* memory = c10::getDeviceAllocator(c10::DeviceType::CUDA);
    constexpr auto ALL = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *bytes = memory->getDeviceStats(ordinal).allocated_bytes[ALL].peak;
    if (reset) memory->resetPeakStats(ordinal);
  });
}

// Makes a stream of libtorch's pool this thread's current one; writes the previous one.
extern "C" char* qrnn_use_another_cuda_stream(int8_t ordinal, int64_t* previous) {
  return guarded([&] {
    const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    const c10::Device device(c10::DeviceType::CUDA, ordinal);
    *previous = cuda.exchangeStream(cuda.getStreamFromGlobalPool(device)).id();
  });
}

// Makes a stream of a GPU this thread's current one.
extern "C" char* qrnn_use_cuda_stream(int8_t ordinal, int64_t stream) {
  return guarded([&] {
    const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    const c10::Device device(c10::DeviceType::CUDA, ordinal);
    cuda.exchangeStream(c10::Stream(c10::Stream::UNSAFE, device, stream));
  });
}
