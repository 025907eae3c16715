// Sums gradients over the ranks as soon as backward has made them, while it makes the others.

#include <torch/csrc/autograd/variable.h>

#include <memory>

#include "shim.h"

// Hooks on the leaves of one backward pass.
struct qrnn_gradient_sums {
  c10::intrusive_ptr<c10d::Backend> backend;
  int64_t pieces;
  std::vector<at::Tensor> leaves, gradients;
  std::vector<unsigned> hooks;
  // The first leaf whose sum has not begun: all ranks begin them in one order, so an early gradient waits.
  size_t next = 0;
  qrnn_work work;

  ~qrnn_gradient_sums() {
    for (size_t i = 0; i < hooks.size(); ++i) leaves[i].remove_hook(hooks[i]);
  }

  at::Tensor arrived(size_t leaf, const at::Tensor& gradient) {
    gradients[leaf] = gradient.contiguous();
    for (; next < leaves.size() && gradients[next].defined(); ++next) {
      begin_sum(*backend, gradients[next], pieces, work);
    }
    return gradients[leaf];
  }
};

// From now on the gradients of these leaves are summed in place, in this order, as soon as a backward pass has made
// them.
extern "C" char* qrnn_gradient_sums_begin(qrnn_backend* backend, const at::Tensor* const* leaves, size_t n,
                                          int64_t pieces, qrnn_gradient_sums** sums) {
  return concise([&] {
    auto own = std::make_unique<qrnn_gradient_sums>();
    own->backend = backend->backend;
    own->pieces = pieces;
    own->gradients.resize(n);
    auto* at = own.get();
    for (size_t i = 0; i < n; ++i) {
      own->leaves.push_back(*leaves[i]);
      own->hooks.push_back(
          own->leaves[i].register_hook([at, i](const at::Tensor& gradient) { return at->arrived(i, gradient); }));
    }
    *sums = own.release();
  });
}

// Removes the hooks, and hands on the sums that have begun.
extern "C" char* qrnn_gradient_sums_end(qrnn_gradient_sums* sums, qrnn_work** work) {
  std::unique_ptr<qrnn_gradient_sums> own(sums);
  return concise([&] {
    if (own->next != own->leaves.size()) throw std::runtime_error("the backward pass made no gradient of a leaf");
    *work = new qrnn_work{std::move(own->work)};
  });
}

extern "C" void qrnn_gradient_sums_free(qrnn_gradient_sums* sums) { delete sums; }
