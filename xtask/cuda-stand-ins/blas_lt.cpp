// The stand-in for libcublasLt.so.13: products with an epilogue.

#include <cstring>

#include "products.h"

using stand_in::letter;
using stand_in::text;
using stand_in::type_name;

namespace {

constexpr int SUCCESS = 0;

struct Layout {
  int type;
  uint64_t rows;
  uint64_t columns;
  int64_t leading;
};

struct Operation {
  int compute;
  int op_a = 0;
  int op_b = 0;
  int epilogue = 1;
};

// cublasLtMatmulDescAttributes_t, the fields that are read here.
enum Attribute { OP_A = 3, OP_B = 4, EPILOGUE = 7 };

// cublasLtMatmulHeuristicResult_t: the algorithm, the workspace that it needs, a status, and more.
struct Heuristic {
  uint64_t algorithm[8];
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Heuristic) == 96, "as in CUDA 13.0");

const char* epilogue_name(int epilogue) {
  switch (epilogue) {
    case 1: return "none";
    case 4: return "bias";
    case 256: return "bias-gradient-a";
    case 512: return "bias-gradient-b";
    default: return "other";
  }
}

}  // namespace

EXPORTED size_t cublasLtGetVersion() { return 130100; }

EXPORTED int cublasLtCreate(void** handle) {
  *handle = new char;
  return SUCCESS;
}

EXPORTED int cublasLtDestroy(void* handle) {
  delete static_cast<char*>(handle);
  return SUCCESS;
}

EXPORTED int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns,
                                        int64_t leading) {
  *layout = new Layout{type, rows, columns, leading};
  return SUCCESS;
}

EXPORTED int cublasLtMatrixLayoutDestroy(void* layout) {
  delete static_cast<Layout*>(layout);
  return SUCCESS;
}

EXPORTED int cublasLtMatrixLayoutSetAttribute(void*, int, const void*, size_t) { return SUCCESS; }

EXPORTED int cublasLtMatmulDescCreate(void** operation, int compute, int) {
  *operation = new Operation{compute};
  return SUCCESS;
}

EXPORTED int cublasLtMatmulDescDestroy(void* operation) {
  delete static_cast<Operation*>(operation);
  return SUCCESS;
}

EXPORTED int cublasLtMatmulDescSetAttribute(void* operation, int attribute, const void* value,
                                            size_t size) {
  auto* to = static_cast<Operation*>(operation);
  int* field = attribute == OP_A       ? &to->op_a
               : attribute == OP_B     ? &to->op_b
               : attribute == EPILOGUE ? &to->epilogue
                                       : nullptr;
  if (field && size == sizeof *field) memcpy(field, value, size);
  return SUCCESS;
}

EXPORTED int cublasLtMatmulPreferenceCreate(void** preference) {
  *preference = new char;
  return SUCCESS;
}

EXPORTED int cublasLtMatmulPreferenceDestroy(void* preference) {
  delete static_cast<char*>(preference);
  return SUCCESS;
}

EXPORTED int cublasLtMatmulPreferenceSetAttribute(void*, int, const void*, size_t) {
  return SUCCESS;
}

EXPORTED int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*,
                                            int wanted, Heuristic* results, int* found) {
  *found = wanted > 0 ? 1 : 0;
  if (*found) *results = Heuristic{};
  return SUCCESS;
}

EXPORTED int cublasLtMatmul(void*, const Operation* operation, const void*, const void*,
                            const Layout* a, const void*, const Layout* b, const float* beta,
                            const void*, const Layout*, void*, const Layout* d, const void*, void*,
                            size_t, void* stream) {
  const uint64_t k = operation->op_a == 0 ? a->columns : a->rows;
  stand_in::note_product(
      "cublasLtMatmul",
      text("%c%c m=%lu n=%lu k=%lu", letter(operation->op_a), letter(operation->op_b), d->rows,
           d->columns, k),
      text("types=%s,%s compute=%d lda=%ld ldb=%ld ldc=%ld epilogue=%s adds=%s stream=%p",
           type_name(a->type), type_name(d->type), operation->compute, a->leading, b->leading,
           d->leading, epilogue_name(operation->epilogue), *beta == 0 ? "no" : "yes", stream));
  return SUCCESS;
}

// The functions that name a status; stubs return numbers.

EXPORTED const char* cublasLtGetStatusName(int) { return "STAND_IN_STATUS"; }

EXPORTED const char* cublasLtGetStatusString(int) { return "a status of the stand-in for a GPU"; }
