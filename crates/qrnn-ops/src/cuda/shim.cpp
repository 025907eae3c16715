// The stream that libtorch puts its CUDA work on, and the memory that this takes, asked for in a way
// that needs nothing of CUDA when this is linked: the CUDA part of libtorch, once loaded, answers.

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "../libtorch/guarded.h"

// Writes this thread's current stream of a GPU, a CUstream.
extern "C" char* qrnn_current_cuda_stream(int8_t card, void** stream) {
  return guarded([&] {
    const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    *stream = cuda.getStreamNativeHandle(cuda.getStream(c10::Device(c10::DeviceType::CUDA, card)));
  });
}

// Writes the most bytes that tensors took on a GPU at once; `forget` begins anew.
extern "C" char* qrnn_peak_cuda_memory(int8_t card, bool forget, int64_t* bytes) {
  return guarded([&] {
    auto* memory = c10::getDeviceAllocator(c10::DeviceType::CUDA);
    constexpr auto ALL = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *bytes = memory->getDeviceStats(card).allocated_bytes[ALL].peak;
    if (forget) memory->resetPeakStats(card);
  });
}

// Makes a stream of libtorch's pool this thread's current one; writes the one before it.
extern "C" char* qrnn_use_another_cuda_stream(int8_t card, int64_t* before) {
  return guarded([&] {
    const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    const c10::Device device(c10::DeviceType::CUDA, card);
    *before = cuda.exchangeStream(cuda.getStreamFromGlobalPool(device)).id();
  });
}

// Makes this stream of a GPU the thread's current one.
extern "C" char* qrnn_use_cuda_stream(int8_t card, int64_t stream) {
  return guarded([&] {
    const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    const c10::Device device(c10::DeviceType::CUDA, card);
    cuda.exchangeStream(c10::Stream(c10::Stream::UNSAFE, device, stream));
  });
}
