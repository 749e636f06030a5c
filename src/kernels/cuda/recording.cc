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
  planned_upload_ = -1;
}

// False: it cannot be recorded, and nothing has run.
bool CudaOps::capture(const std::function<void()>& operations, Recording* recording) {
  if (recording->failed) return false;
  cudaGraph_t graph = nullptr;
  cudaError_t error = cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal);
  if (error == cudaSuccess) {
    operations();
    error = cudaStreamEndCapture(stream_, &graph);
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
  if (in_work_) return;
  in_work_ = true;
  StepClock& clock = clock_at(num_begun_);
  clock.counts = num_begun_ > 0;
  check(cudaEventRecord(clock.begin, stream_), "the clock of a step");
}

void CudaOps::count_work() {
  const StepClock& clock = clock_at(num_finished_);
  times_.steps += 1;
  if (!clock.counts || !status_.ok()) return;
  float busy_ms = 0.0f, idle_ms = 0.0f;
  cudaEvent_t before = clock_at(num_finished_ + kStepClocks - 1).end;
  check(cudaEventElapsedTime(&idle_ms, before, clock.begin), "the clock of a step");
  check(cudaEventElapsedTime(&busy_ms, clock.begin, clock.end), "the clock of a step");
  times_.idle_ms += static_cast<double>(idle_ms);
  times_.busy_ms += static_cast<double>(busy_ms);
}

}  // namespace galley::kernels::cuda
