// C++ exceptions end where C begins.

#pragma once

#include <cstring>
#include <exception>

// Null, or what the body threw as a message made by malloc.
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
