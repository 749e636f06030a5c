#include "kernels/cuda/cublas.h"

#include <dlfcn.h>

#include <array>
#include <vector>

#include "base/check.h"

namespace galley::kernels::cuda {

struct CublasLt::Functions {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtGetVersion) version;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
};

namespace {

constexpr const char* kLibrary = "libcublasLt.so.13";

std::vector<std::string> candidates(const std::string& folder) {
  if (!folder.empty()) return {folder + "/" + kLibrary};
  return {kLibrary, std::string("/usr/local/cuda/lib64/") + kLibrary,
          std::string("/usr/local/cuda-13/lib64/") + kLibrary,
          std::string("/usr/local/cuda-13.0/lib64/") + kLibrary,
          std::string("/usr/lib/x86_64-linux-gnu/") + kLibrary};
}

Result<void*> find_library(const std::string& folder) {
  std::string tried;
  for (const std::string& path : candidates(folder)) {
    if (void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); library != nullptr)
      return library;
    tried += (tried.empty() ? "" : ", ") + path;
  }
  return Status(Code::kUnavailable, "cuBLASLt 13 is not found (tried " + tried +
                                        "): install CUDA 13's libraries or name their folder with "
                                        "--cuda-libraries");
}

template <typename F>
bool load(void* library, const char* name, F* function) {
  *function = reinterpret_cast<F>(dlsym(library, name));
  return *function != nullptr;
}

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kF32:
      return CUDA_R_32F;
    default:
      GALLEY_CHECK(false, "a type that cuBLASLt is asked for");
  }
}

bool aligned16(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

}  // namespace

CublasLt::~CublasLt() {
  if (functions_ != nullptr) {
    for (auto& [key, plan] : plans_) {
      functions_->layout_destroy(plan.x);
      functions_->layout_destroy(plan.w);
      functions_->layout_destroy(plan.out);
      functions_->desc_destroy(plan.operation);
    }
    if (handle_ != nullptr) functions_->destroy(handle_);
    delete functions_;
  }
  // The library stays loaded: it has threads and state of its own.
}

Status CublasLt::find(const std::string& folder) {
  return find_library(folder).status();
}

Status CublasLt::open(const std::string& folder) {
  GALLEY_ASSIGN_OR_RETURN(library_, find_library(folder));
  functions_ = new Functions{};
  Functions& f = *functions_;
  const bool complete = load(library_, "cublasLtCreate", &f.create) &&
                        load(library_, "cublasLtDestroy", &f.destroy) &&
                        load(library_, "cublasLtGetVersion", &f.version) &&
                        load(library_, "cublasLtMatmul", &f.matmul) &&
                        load(library_, "cublasLtMatmulDescCreate", &f.desc_create) &&
                        load(library_, "cublasLtMatmulDescDestroy", &f.desc_destroy) &&
                        load(library_, "cublasLtMatmulDescSetAttribute", &f.desc_set) &&
                        load(library_, "cublasLtMatrixLayoutCreate", &f.layout_create) &&
                        load(library_, "cublasLtMatrixLayoutDestroy", &f.layout_destroy) &&
                        load(library_, "cublasLtMatrixLayoutSetAttribute", &f.layout_set) &&
                        load(library_, "cublasLtMatmulPreferenceCreate", &f.preference_create) &&
                        load(library_, "cublasLtMatmulPreferenceDestroy", &f.preference_destroy) &&
                        load(library_, "cublasLtMatmulPreferenceSetAttribute", &f.preference_set) &&
                        load(library_, "cublasLtMatmulAlgoGetHeuristic", &f.heuristic);
  if (!complete) return Status(Code::kUnavailable, "cuBLASLt lacks a function of version 13");
  if (f.create(&handle_) != CUBLAS_STATUS_SUCCESS)
    return Status(Code::kUnavailable, "cuBLASLt cannot be initialised on this device");
  return {};
}

bool CublasLt::takes(const Product& p) {
  const auto size = static_cast<int64_t>(size_of(p.dtype));
  const auto out_size = static_cast<int64_t>(size_of(p.out_dtype));
  return p.dtype == DType::kBF16 && aligned16(p.x) && aligned16(p.w) && aligned16(p.out) &&
         p.x_ld * size % 16 == 0 && p.w_ld * size % 16 == 0 && p.out_ld * out_size % 16 == 0 &&
         p.x_stride * size % 16 == 0 && p.w_stride * size % 16 == 0 &&
         p.out_stride * out_size % 16 == 0;
}

// The library is column-major: it computes out^T [M, T] = w [M, K] * x^T [K, T].
CublasLt::Plan CublasLt::make_plan(const Product& p) {
  Functions& f = *functions_;
  Plan plan;
  const auto u64 = [](int64_t n) { return static_cast<uint64_t>(n); };
  f.desc_create(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  const cublasOperation_t w_op = p.w_is_kn ? CUBLAS_OP_N : CUBLAS_OP_T;
  f.desc_set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, &w_op, sizeof(w_op));
  const cudaDataType_t in = type_of(p.dtype), out = type_of(p.out_dtype);
  if (p.w_is_kn) {
    f.layout_create(&plan.w, in, u64(p.rows), u64(p.cols), p.w_ld);
  } else {
    f.layout_create(&plan.w, in, u64(p.cols), u64(p.rows), p.w_ld);
  }
  f.layout_create(&plan.x, in, u64(p.cols), u64(p.tokens), p.x_ld);
  f.layout_create(&plan.out, out, u64(p.rows), u64(p.tokens), p.out_ld);
  if (p.batch > 1) {
    const std::array layouts = {std::pair(plan.x, p.x_stride), std::pair(plan.w, p.w_stride),
                                std::pair(plan.out, p.out_stride)};
    for (const auto& [layout, stride] : layouts) {
      f.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &p.batch, sizeof(p.batch));
      f.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof(stride));
    }
  }
  cublasLtMatmulPreference_t preference = nullptr;
  f.preference_create(&preference);
  const size_t workspace = kWorkspaceBytes;
  f.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                   sizeof(workspace));
  cublasLtMatmulHeuristicResult_t result{};
  int count = 0;
  plan.found = f.heuristic(handle_, plan.operation, plan.w, plan.x, plan.out, plan.out, preference,
                           1, &result, &count) == CUBLAS_STATUS_SUCCESS &&
               count > 0;
  plan.algorithm = result.algo;
  f.preference_destroy(preference);
  return plan;
}

bool CublasLt::multiply(const Product& p, cudaStream_t stream) {
  const Key key{p.tokens,
                p.cols,
                p.rows,
                p.x_ld,
                p.w_ld,
                p.out_ld,
                static_cast<int>(p.dtype),
                static_cast<int>(p.out_dtype),
                p.w_is_kn,
                p.batch,
                p.x_stride,
                p.w_stride,
                p.out_stride};
  auto at = plans_.find(key);
  if (at == plans_.end()) at = plans_.emplace(key, make_plan(p)).first;
  const Plan& plan = at->second;
  if (!plan.found) return false;
  const float one = 1.0f, zero = 0.0f;
  return functions_->matmul(handle_, plan.operation, &one, p.w, plan.w, p.x, plan.x, &zero, p.out,
                            plan.out, p.out, plan.out, &plan.algorithm, workspace_, kWorkspaceBytes,
                            stream) == CUBLAS_STATUS_SUCCESS;
}

}  // namespace galley::kernels::cuda
