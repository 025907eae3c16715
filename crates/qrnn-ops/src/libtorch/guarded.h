// Converts C++ exceptions to messages for C.

#pragma once

#include <cstring>
#include <exception>

// Returns null, or the exception's message, allocated by malloc.
template <typename Body>
char* guarded(Body body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}
