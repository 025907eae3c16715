// The stand-in for libcublas.so.13: products are logged with their shapes and types.
//
// Products of the families that libtorch uses are modeled; all other functions are stubs, whose calls
// are logged as unknown.

#include "products.h"

using stand_in::letter;
using stand_in::note_product;
using stand_in::text;
using stand_in::type_name;

namespace {

constexpr int SUCCESS = 0;

struct Handle {
  void* stream = nullptr;
  int math_mode = 0;
  int pointer_mode = 0;
};

Handle& of(void* handle) { return *static_cast<Handle*>(handle); }

// Whether what `beta` points to is zero, so that the old contents are not read: '?' where it lies on
// the GPU.
template <typename Scalar>
const char* reads_result(void* handle, const Scalar* beta) {
  if (of(handle).pointer_mode != 0) return "?";
  return *beta == Scalar{} ? "no" : "yes";
}

std::string shape(int op_a, int op_b, int m, int n, int k) {
  return text("%c%c m=%d n=%d k=%d", letter(op_a), letter(op_b), m, n, k);
}

}  // namespace

EXPORTED int cublasCreate_v2(void** handle) {
  *handle = new Handle;
  return SUCCESS;
}

EXPORTED int cublasDestroy_v2(void* handle) {
  delete static_cast<Handle*>(handle);
  return SUCCESS;
}

EXPORTED int cublasSetStream_v2(void* handle, void* stream) {
  of(handle).stream = stream;
  return SUCCESS;
}

EXPORTED int cublasSetWorkspace_v2(void*, void*, size_t) { return SUCCESS; }

EXPORTED int cublasSetMathMode(void* handle, int mode) {
  of(handle).math_mode = mode;
  return SUCCESS;
}

EXPORTED int cublasGetMathMode(void* handle, int* mode) {
  *mode = of(handle).math_mode;
  return SUCCESS;
}

EXPORTED int cublasSetPointerMode_v2(void* handle, int mode) {
  of(handle).pointer_mode = mode;
  return SUCCESS;
}

EXPORTED int cublasGetPointerMode_v2(void* handle, int* mode) {
  *mode = of(handle).pointer_mode;
  return SUCCESS;
}

EXPORTED int cublasGemmEx(void* handle, int op_a, int op_b, int m, int n, int k, const void*,
                          const void*, int type_a, int lda, const void*, int, int ldb,
                          const float* beta, void*, int type_c, int ldc, int compute, int) {
  note_product("cublasGemmEx", shape(op_a, op_b, m, n, k),
               text("types=%s,%s compute=%d lda=%d ldb=%d ldc=%d epilogue=none adds=%s stream=%p",
                    type_name(type_a), type_name(type_c), compute, lda, ldb, ldc,
                    reads_result(handle, beta), of(handle).stream));
  return SUCCESS;
}

EXPORTED int cublasGemmStridedBatchedEx(void* handle, int op_a, int op_b, int m, int n, int k,
                                        const void*, const void*, int type_a, int lda, long long,
                                        const void*, int, int ldb, long long, const float* beta,
                                        void*, int type_c, int ldc, long long, int batches,
                                        int compute, int) {
  note_product("cublasGemmStridedBatchedEx", shape(op_a, op_b, m, n, k),
               text("batches=%d types=%s,%s compute=%d lda=%d ldb=%d ldc=%d epilogue=none adds=%s "
                    "stream=%p",
                    batches, type_name(type_a), type_name(type_c), compute, lda, ldb, ldc,
                    reads_result(handle, beta), of(handle).stream));
  return SUCCESS;
}

// The same functions in single and in double precision.
#define FOR_TYPE(LETTER, Scalar, NAME)                                                             \
  EXPORTED int cublas##LETTER##gemm_v2(void* handle, int op_a, int op_b, int m, int n, int k,      \
                                       const Scalar*, const Scalar*, int lda, const Scalar*,       \
                                       int ldb, const Scalar* beta, Scalar*, int ldc) {            \
    note_product("cublas" #LETTER "gemm_v2", shape(op_a, op_b, m, n, k),                           \
                 text("types=" NAME "," NAME " mode=%d lda=%d ldb=%d ldc=%d epilogue=none "        \
                      "adds=%s stream=%p",                                                         \
                      of(handle).math_mode, lda, ldb, ldc, reads_result(handle, beta),             \
                      of(handle).stream));                                                         \
    return SUCCESS;                                                                                \
  }                                                                                                \
  EXPORTED int cublas##LETTER##gemmStridedBatched(                                                 \
      void* handle, int op_a, int op_b, int m, int n, int k, const Scalar*, const Scalar*,         \
      int lda, long long, const Scalar*, int ldb, long long, const Scalar* beta, Scalar*, int ldc, \
      long long, int batches) {                                                                    \
    note_product("cublas" #LETTER "gemmStridedBatched", shape(op_a, op_b, m, n, k),                \
                 text("batches=%d types=" NAME "," NAME " mode=%d lda=%d ldb=%d ldc=%d "           \
                      "epilogue=none adds=%s stream=%p",                                           \
                      batches, of(handle).math_mode, lda, ldb, ldc, reads_result(handle, beta),    \
                      of(handle).stream));                                                         \
    return SUCCESS;                                                                                \
  }                                                                                                \
  EXPORTED int cublas##LETTER##gemv_v2(void* handle, int op, int m, int n, const Scalar*,          \
                                       const Scalar*, int lda, const Scalar*, int,                 \
                                       const Scalar* beta, Scalar*, int) {                         \
    note_product("cublas" #LETTER "gemv_v2", text("%c m=%d n=%d", letter(op), m, n),               \
                 text("types=" NAME "," NAME " lda=%d adds=%s stream=%p", lda,                     \
                      reads_result(handle, beta), of(handle).stream));                             \
    return SUCCESS;                                                                                \
  }                                                                                                \
  EXPORTED int cublas##LETTER##dot_v2(void* handle, int n, const Scalar*, int, const Scalar*, int, \
                                      Scalar*) {                                                   \
    note_dot(handle, "cublas" #LETTER "dot_v2", n, NAME);                                          \
    return SUCCESS;                                                                                \
  }

namespace {

// A dot product whose result goes to the host makes the host wait for it.
void note_dot(void* handle, const char* function, int n, const char* type) {
  note_product(function, text("n=%d", n),
               text("types=%s,%s stream=%p", type, type, of(handle).stream));
  if (of(handle).pointer_mode == 0) stand_in::note_work("SYNCHRONIZE", function, "");
}

}  // namespace

FOR_TYPE(S, float, "f32")
FOR_TYPE(D, double, "f64")

EXPORTED int cublasDotEx(void* handle, int n, const void*, int type, int, const void*, int, int,
                         void*, int, int) {
  note_dot(handle, "cublasDotEx", n, type_name(type));
  return SUCCESS;
}

// The functions that name a status; stubs return numbers.

EXPORTED const char* cublasGetStatusName(int) { return "STAND_IN_STATUS"; }

EXPORTED const char* cublasGetStatusString(int) { return "a status of the stand-in for a GPU"; }
