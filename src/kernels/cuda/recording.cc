// Steps as CUDA graphs, and how long the device waits for the host between them.
//
// A graph is captured the second time a key comes: the first time everything that is made once
// (cuBLASLt's choices, tables of experts, bf16 copies, the memory of plans) was made. A graph holds
// the addresses and the grid sizes of its launches, so whoever calls repeat() keeps both the same;
// the plan of attention is one of its launches and reads the step's lengths on the device.
#include "kernels/cuda/cuda_ops.h"

namespace galley::kernels::cuda {

CudaOps::Recording::~Recording() {
  if (graph != nullptr) cudaGraphExecDestroy(graph);
}

void CudaOps::repeat(uint64_t key, const std::function<void()>& operations) {
  if (!records() || !status_.ok()) return operations();
  begin_work();
  Recording& recording = recordings_[key];
  planned_upload_ = -1;  // the plan is part of the recording
  if (recording.graph == nullptr) {
    const bool is_first = !recording.is_known;
    recording.is_known = true;
    if (is_first || !capture(operations, &recording)) return operations();
  }
  check(cudaGraphLaunch(recording.graph, stream_), "a recorded step");
  begin_ = recorded_begin_;
  planned_upload_ = -1;
}

// False: it cannot be recorded, and nothing has run.
bool CudaOps::capture(const std::function<void()>& operations, Recording* recording) {
  if (recording->failed) return false;
  cudaGraph_t graph = nullptr;
  cudaError_t error = cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal);
  if (error == cudaSuccess) {
    // The step begins when the device does, not when the host says so.
    error = cudaEventRecordWithFlags(recorded_begin_, stream_, cudaEventRecordExternal);
    operations();
    const cudaError_t ended = cudaStreamEndCapture(stream_, &graph);
    if (error == cudaSuccess) error = ended;
  }
  if (error == cudaSuccess) error = cudaGraphInstantiate(&recording->graph, graph, 0);
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (error == cudaSuccess) return true;
  (void)cudaGetLastError();
  recording->graph = nullptr;
  recording->failed = true;
  planned_upload_ = -1;
  return false;
}

// --- the device's idle time ---------------------------------------------------------------------

void CudaOps::begin_work() {
  if (in_work_ || events_[0] == nullptr) return;
  in_work_ = true;
  begin_ = events_[0];
  check(cudaEventRecord(events_[0], stream_), "the clock of a step");
}

void CudaOps::end_work() {
  if (!in_work_) return;
  check(cudaEventRecord(events_[1], stream_), "the clock of a step");
}

// After the stream was waited for: both events have happened, and so has that of the step before.
void CudaOps::count_work() {
  if (!in_work_ || !status_.ok()) return;
  in_work_ = false;
  // The first one began when the weights were uploaded.
  const bool counts = std::exchange(has_counted_, true);
  float busy_ms = 0.0f, idle_ms = 0.0f;
  if (counts && cudaEventElapsedTime(&idle_ms, events_[2], begin_) == cudaSuccess)
    times_.idle_ms += static_cast<double>(idle_ms);
  if (counts && cudaEventElapsedTime(&busy_ms, begin_, events_[1]) == cudaSuccess)
    times_.busy_ms += static_cast<double>(busy_ms);
  times_.steps += 1;
  std::swap(events_[1], events_[2]);
}

}  // namespace galley::kernels::cuda
