// The stream that libtorch puts its CUDA work on, asked for in a way that needs nothing of CUDA when
// this is linked: the CUDA part of libtorch, once loaded, answers.

#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstring>
#include <exception>

// Writes this thread's current stream of a card, a CUstream. Returns null, or a message made by malloc.
extern "C" char* qrnn_current_cuda_stream(int8_t card, void** stream) {
  try {
    const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    *stream = cuda.getStreamNativeHandle(cuda.getStream(c10::Device(c10::DeviceType::CUDA, card)));
    return nullptr;
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}
