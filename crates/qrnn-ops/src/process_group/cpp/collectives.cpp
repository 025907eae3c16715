// Operations of a group, and waiting for them. All ranks must begin the same ones with the same shapes and in the
// same order: gloo ends the process where sizes differ.

#include <algorithm>

#include "shim.h"

namespace {

// From this size, in bytes, a tensor on the CPU is summed in pieces.
constexpr size_t LARGE = 8 << 20;

template <typename Begin>
char* begun(qrnn_work** work, Begin begin) {
  return concise([&] {
    auto own = std::make_unique<qrnn_work>();
    begin(*own);
    *work = own.release();
  });
}

bool completed(const qrnn_work& work) {
  return std::all_of(work.pieces.begin(), work.pieces.end(), [](const auto& piece) { return piece->isCompleted(); });
}

}  // namespace

void begin_sum(c10d::Backend& backend, const at::Tensor& tensor, int64_t pieces, qrnn_work& work) {
  std::vector<at::Tensor> all{tensor};
  if (tensor.is_cpu() && tensor.nbytes() > LARGE) all = tensor.view({-1}).chunk(pieces);
  for (const auto& piece : all) {
    std::vector<at::Tensor> one{piece};
    work.pieces.push_back(backend.allreduce(one));
  }
}

extern "C" char* qrnn_all_reduce(qrnn_backend* backend, const at::Tensor* tensor, int64_t pieces, qrnn_work** work) {
  return begun(work, [&](qrnn_work& own) { begin_sum(*backend->backend, *tensor, pieces, own); });
}

extern "C" char* qrnn_broadcast(qrnn_backend* backend, const at::Tensor* tensor, int root, qrnn_work** work) {
  return begun(work, [&](qrnn_work& own) {
    std::vector<at::Tensor> tensors{*tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    own.pieces.push_back(backend->backend->broadcast(tensors, options));
  });
}

// `all` has as many times the elements of `one` as there are ranks.
extern "C" char* qrnn_all_gather(qrnn_backend* backend, const at::Tensor* all, const at::Tensor* one,
                                 qrnn_work** work) {
  return begun(work, [&](qrnn_work& own) {
    at::Tensor output = *all, input = *one;
    own.pieces.push_back(backend->backend->_allgather_base(output, input));
  });
}

// Waits for at most this time, 0 for no limit; `done` says whether all pieces are finished. For tensors on a GPU and no
// limit, its current stream waits in place of the host.
extern "C" char* qrnn_work_wait(qrnn_work* work, int64_t timeout_ms, bool* done) {
  return concise([&] {
    *done = false;
    for (const auto& piece : work->pieces) {
      try {
        piece->wait(std::chrono::milliseconds(timeout_ms));
      } catch (...) {
        if (!piece->isCompleted()) return;
      }
      // Returns at once. The exception above may have been that of the time, and the end have come since.
      piece->wait();
    }
    *done = true;
  });
}

// Whether it is finished, also on a GPU. An operation that failed is finished, too: its error is that of this call.
extern "C" char* qrnn_work_poll(qrnn_work* work, bool* done) {
  return concise([&] {
    *done = completed(*work);
    if (!*done) return;
    for (const auto& piece : work->pieces) {
      if (const auto error = piece->exception()) std::rethrow_exception(error);
    }
  });
}

extern "C" void qrnn_work_free(qrnn_work* work) { delete work; }

// Ends the operations of a group that failed.
extern "C" char* qrnn_backend_abort(qrnn_backend* backend) {
  return concise([&] { backend->backend->abort(); });
}

extern "C" void qrnn_backend_close(qrnn_backend* backend) { delete backend; }
