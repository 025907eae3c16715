// Groups on CPU tensors: c10d::ProcessGroupGloo.

#define USE_C10D_GLOO 1

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "shim.h"

// Connects all ranks with each other.
//
// * address: of this machine on the way to the others; empty for the interfaces in GLOO_SOCKET_IFNAME, or else the
//   address that the machine's name has, which is 127.0.0.1 on many machines.
// * connections: to each other rank, each served by a thread.
extern "C" char* qrnn_gloo_open(qrnn_store* store, const char* prefix, const char* address, int rank, int size,
                                int connections, int64_t timeout_ms, qrnn_backend** backend) {
  return concise([&] {
    using Gloo = c10d::ProcessGroupGloo;
    const std::chrono::milliseconds timeout(timeout_ms);
    auto options = Gloo::Options::create(timeout);
    const std::string own(address);
    for (int i = 0; i < connections; ++i) {
      if (own.empty()) {
        const auto named = Gloo::Options::create_default(timeout);
        options->devices.insert(options->devices.end(), named->devices.begin(), named->devices.end());
      } else {
        options->devices.push_back(Gloo::createDeviceForHostname(own));
      }
    }
    options->threads = 2 * static_cast<int>(options->devices.size());
    c10::intrusive_ptr<c10d::Store> prefixed = c10::make_intrusive<c10d::PrefixStore>(prefix, store->store);
    prefixed->setTimeout(timeout);
    *backend = new qrnn_backend{c10::make_intrusive<Gloo>(prefixed, rank, size, options)};
  });
}
