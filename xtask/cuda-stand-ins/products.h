// How matrix products are logged, by both stand-ins of cuBLAS.
#pragma once

#include "stand_in.h"

namespace stand_in {

// cublasOperation_t: as it is, transposed, transposed and conjugated.
inline char letter(int operation) {
  constexpr char LETTERS[] = "NTC";
  return operation >= 0 && operation < 3 ? LETTERS[operation] : '?';
}

// cudaDataType_t.
inline const char* type_name(int type) {
  switch (type) {
    case 0: return "f32";
    case 1: return "f64";
    case 2: return "f16";
    case 14: return "bf16";
    default: return "other";
  }
}

// A product of column-major matrices: which function, what shape, and all else.
inline void note_product(const char* function, const std::string& shape,
                         const std::string& details) {
  const std::string name = std::string(function) + " " + shape;
  note_work("PRODUCT", name.c_str(), details);
  // The real library calls the runtime, which makes the primary context current.
  stand_in_use_primary_context();
}

}  // namespace stand_in
