// The key-value store where the ranks of a group meet: c10d::TCPStore.

#include <c10/util/Logging.h>

#include <cstdlib>

#include "shim.h"

namespace {

// c10d logs each failed attempt to connect, and each lost connection, with pages of call stacks. Rust tries again, and
// reports what failed in the end. TORCH_CPP_LOG_LEVEL, which libtorch reads in Python alone, brings the log back.
void quiet_log() {
  if (!getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = 3;
}

}  // namespace

// Connects to the store, which this process hosts if `serves`. With port 0 the host takes a free one; `bound` gets
// the port.
extern "C" char* qrnn_store_open(const char* host, uint16_t port, bool serves, int64_t timeout_ms,
                                 qrnn_store** store, uint16_t* bound) {
  return concise([&] {
    quiet_log();
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.waitWorkers = false;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    // As torch.distributed: stores of one process on one port share their server.
    options.multiTenant = port != 0;
    auto opened = c10::make_intrusive<c10d::TCPStore>(host, options);
    *bound = opened->getPort();
    *store = new qrnn_store{std::move(opened)};
  });
}

extern "C" char* qrnn_store_set(qrnn_store* store, const char* key, const uint8_t* bytes, size_t n) {
  return concise([&] { store->store->set(key, std::vector<uint8_t>(bytes, bytes + n)); });
}

// Adds to the integer of a key, which is 0 if it was never set; `sum` gets the result.
extern "C" char* qrnn_store_add(qrnn_store* store, const char* key, int64_t value, int64_t* sum) {
  return concise([&] { *sum = store->store->add(key, value); });
}

// Calls `found(context, i, bytes, n)` with the value of each key, if all of them were set.
extern "C" char* qrnn_store_get(qrnn_store* store, const char* const* keys, size_t n, void* context,
                                void (*found)(void*, size_t, const uint8_t*, size_t)) {
  return concise([&] {
    const std::vector<std::string> all(keys, keys + n);
    if (!store->store->check(all)) return;
    const auto values = store->store->multiGet(all);
    for (size_t i = 0; i < values.size(); ++i) found(context, i, values[i].data(), values[i].size());
  });
}

extern "C" void qrnn_store_close(qrnn_store* store) { delete store; }
