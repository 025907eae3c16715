// What the C++ files of this folder share: the types that Rust holds pointers to, and the conversion of errors.

#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <stdexcept>
#include <vector>

#include "../../libtorch/guarded.h"

struct qrnn_store {
  c10::intrusive_ptr<c10d::TCPStore> store;
};

struct qrnn_backend {
  c10::intrusive_ptr<c10d::Backend> backend;
};

// The pieces of one operation of a group.
struct qrnn_work {
  std::vector<c10::intrusive_ptr<c10d::Work>> pieces;
};

// As guarded, without the C++ call stack in the message.
template <typename Body>
char* concise(Body body) {
  return guarded([&] {
    try {
      body();
    } catch (const c10::Error& error) {
      throw std::runtime_error(error.what_without_backtrace());
    }
  });
}

// Begins the sum of a contiguous tensor over all ranks, in place: a large one on the CPU in several pieces, so that
// all connections of gloo have work.
void begin_sum(c10d::Backend& backend, const at::Tensor& tensor, int64_t pieces, qrnn_work& work);
