// Asynchronous copies between host and device, and events, through virtual interfaces, so that nothing of
// CUDA is needed at link time.

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <memory>

#include "guarded.h"

// Copies between tensors of one shape and kind; a copy to or from a GPU is only queued.
extern "C" char* qrnn_queue_copy(const at::Tensor* destination, const at::Tensor* source) {
  return guarded([&] { destination->copy_(*source, /*non_blocking=*/true); });
}

// Records a new event, which the caller owns, in this thread's current stream of a GPU.
extern "C" char* qrnn_record_event(int8_t ordinal, c10::Event** out) {
  return guarded([&] {
    const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    auto event = std::make_unique<c10::Event>(c10::DeviceType::CUDA);
    event->record(cuda.getStream(c10::Device(c10::DeviceType::CUDA, ordinal)));
    *out = event.release();
  });
}

// Waits for the work before the event, from any thread.
extern "C" char* qrnn_wait_for_event(const c10::Event* event) {
  return guarded([&] { event->synchronize(); });
}

extern "C" void qrnn_free_event(c10::Event* event) { delete event; }
