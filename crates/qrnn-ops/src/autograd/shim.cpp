// A torch::autograd::Function whose backward is a function pointer.
//
// Nothing is registered with the dispatcher and there is no global state, so that a process (a
// notebook) may load this library twice. No exception leaves an extern "C" function, and no Rust
// panic enters.

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Returns null, or a message allocated by malloc. Gradients are written to `inputs_grad` as tensors
// allocated by `new`, or null; the caller takes ownership.
using BackwardFn = char* (*)(void* state, const at::Tensor* const* saved, size_t n_saved,
                             const at::Tensor* const* grads, size_t n_grads, const bool* needed,
                             at::Tensor** inputs_grad, size_t n_inputs);
using DropFn = void (*)(void* state);

// The Rust state, dropped with the last graph that refers to it.
struct State : torch::CustomClassHolder {
  void* state;
  BackwardFn backward;
  DropFn drop;
  size_t n_inputs;
  State(void* s, BackwardFn b, DropFn d, size_t n) : state(s), backward(b), drop(d), n_inputs(n) {}
  State(const State&) = delete;
  ~State() override { drop(state); }
};

std::vector<const at::Tensor*> addresses(const variable_list& tensors) {
  std::vector<const at::Tensor*> out;
  out.reserve(tensors.size());
  for (const auto& tensor : tensors) out.push_back(&tensor);
  return out;
}

struct Recorded : torch::autograd::Function<Recorded> {
  // `inputs` must be a TensorList: a std::vector would count as a non-tensor argument, without a gradient.
  static variable_list forward(AutogradContext* ctx, at::TensorList inputs,
                               const variable_list* outputs, const variable_list* saved,
                               c10::intrusive_ptr<State> state) {
    ctx->set_materialize_grads(false);
    ctx->save_for_backward(*saved);
    ctx->saved_data["state"] =
        c10::IValue::make_capsule(c10::static_intrusive_pointer_cast<torch::CustomClassHolder>(state));
    return *outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto holder = ctx->saved_data["state"].toCapsule();
    auto& state = static_cast<State&>(*holder);
    const variable_list saved = ctx->get_saved_variables();
    const auto saved_at = addresses(saved);
    const auto grads_at = addresses(grads);
    // std::vector<bool> has no array of bool.
    std::unique_ptr<bool[]> needed(new bool[state.n_inputs]);
    for (size_t i = 0; i < state.n_inputs; ++i) needed[i] = ctx->needs_input_grad(i);
    std::vector<at::Tensor*> out(state.n_inputs, nullptr);
    char* message = state.backward(state.state, saved_at.data(), saved_at.size(), grads_at.data(),
                                   grads_at.size(), needed.get(), out.data(), out.size());
    // One entry per argument of forward; those of non-tensor arguments stay undefined.
    variable_list result(state.n_inputs + 3);
    for (size_t i = 0; i < out.size(); ++i) {
      std::unique_ptr<at::Tensor> owned(out[i]);
      if (owned) result[i] = *owned;
    }
    if (message) {
      std::string text(message);
      free(message);
      throw std::runtime_error(text);
    }
    return result;
  }
};

variable_list copies(const at::Tensor* const* tensors, size_t n) {
  variable_list out;
  out.reserve(n);
  for (size_t i = 0; i < n; ++i) out.push_back(*tensors[i]);
  return out;
}

}  // namespace

// Records in the autograd graph that `outputs` were computed from `inputs`. On success each entry
// of `outputs` is replaced by a new tensor, allocated by `new` and owned by the caller. Takes
// ownership of `state` in any case. Returns null, or a message allocated by malloc.
extern "C" char* qrnn_autograd_record(const at::Tensor* const* inputs, size_t n_inputs,
                                      at::Tensor** outputs, size_t n_outputs,
                                      const at::Tensor* const* saved, size_t n_saved, void* state,
                                      BackwardFn backward, DropFn drop) {
  try {
    auto holder = c10::make_intrusive<State>(state, backward, drop, n_inputs);
    const variable_list in = copies(inputs, n_inputs);
    const variable_list out = copies(outputs, n_outputs);
    const variable_list to_save = copies(saved, n_saved);
    const variable_list result = Recorded::apply(at::TensorList(in), &out, &to_save, holder);
    std::vector<std::unique_ptr<at::Tensor>> owned;
    for (const auto& tensor : result) owned.push_back(std::make_unique<at::Tensor>(tensor));
    for (size_t i = 0; i < n_outputs; ++i) outputs[i] = owned[i].release();
    return nullptr;
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}
