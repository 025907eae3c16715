// Pinned memory of the host, copies into it that do not make the host wait, and the event behind them,
// asked for in a way that needs nothing of CUDA when this is linked.

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <memory>

#include "guarded.h"

// Copies between tensors of one shape and kind; to or from a GPU, the copy is only queued.
extern "C" char* qrnn_queue_copy(const at::Tensor* destination, const at::Tensor* source) {
  return guarded([&] { destination->copy_(*source, /*non_blocking=*/true); });
}

// Writes a new event, which the caller owns, behind all work on this thread's current stream of a GPU.
extern "C" char* qrnn_record_event(int8_t card, c10::Event** out) {
  return guarded([&] {
    const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    auto event = std::make_unique<c10::Event>(c10::DeviceType::CUDA);
    event->record(cuda.getStream(c10::Device(c10::DeviceType::CUDA, card)));
    *out = event.release();
  });
}

// Returns once the work before the event is done; from any thread.
extern "C" char* qrnn_wait_for_event(const c10::Event* event) {
  return guarded([&] { event->synchronize(); });
}

extern "C" void qrnn_free_event(c10::Event* event) { delete event; }
