// Hopper's own instructions, one function each: barriers in shared memory
// that count bytes (mbarrier), the bulk tensor copy engine (TMA), clusters, and the fences between
// them. wgmma.cuh has the matrix instructions themselves.
//
// Words     phase: bit that a barrier's wait names; it flips each time the barrier completes.
//           map: a CUtensorMap, which says how a tile of a matrix in global memory is laid out
//           (tensor_map.h makes them on the host).
// Source    PTX ISA 8.8, sections on mbarrier, cp.async.bulk.tensor, and the async proxy.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace galley::kernels::cuda::hopper {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// --- barriers -----------------------------------------------------------------------------------

// A barrier, or any place in shared memory, is named by a pointer or by its 32-bit address.
struct Place {
  uint32_t address;
  __device__ __forceinline__ Place(uint32_t at) : address(at) {}
  __device__ __forceinline__ Place(const void* pointer) : address(shared_address(pointer)) {}
};

__device__ __forceinline__ void barrier_init(Place barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier.address), "r"(arrivals)
               : "memory");
}

// Makes initialised barriers visible to the copy engine and to the cluster.
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Arrives once and adds `bytes` to what the phase waits for.
__device__ __forceinline__ void barrier_expect(Place barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier.address),
               "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void barrier_arrive(Place barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier.address) : "memory");
}

// Arrives on the barrier at the same place in another block of the cluster (or this one). Orders no
// memory between the blocks: it says that this thread has read what it was sent. (With .cluster
// scope every arrival would flush the multiprocessor's writes, several hundred clocks.)
__device__ __forceinline__ void barrier_arrive_in(Place barrier, uint32_t block_rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}" ::"r"(barrier.address),
      "r"(block_rank)
      : "memory");
}

// Waits until the phase with this parity has completed.
__device__ __forceinline__ void barrier_wait(Place barrier, uint32_t phase) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra finished;\n"
      "bra again;\n"
      "finished:\n"
      "}" ::"r"(barrier.address),
      "r"(phase)
      : "memory");
}

// The same, and what the other blocks of the cluster did before they arrived is visible.
__device__ __forceinline__ void barrier_wait_cluster(Place barrier, uint32_t phase) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@done bra finished;\n"
      "bra again;\n"
      "finished:\n"
      "}" ::"r"(barrier.address),
      "r"(phase)
      : "memory");
}

// Barrier `id` (1..15) among `threads` threads of the block.
__device__ __forceinline__ void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// The same without waiting: the others may go on once all have arrived.
__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Moves registers between the warpgroups of a block; the whole warpgroup calls it.
template <int kRegisters>
__device__ __forceinline__ void keep_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// --- copies -------------------------------------------------------------------------------------

// Weights are read once in a step, activations by every block: what L2 should keep.
__device__ __forceinline__ uint64_t evict_first() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ uint64_t evict_last() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ uint64_t evict_normal() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// Copies the map's box at (column, row) to shared memory; the barrier counts its bytes. What lies
// outside the matrix arrives as zeros.
__device__ __forceinline__ void copy_tile(void* to, const CUtensorMap* map, int32_t column,
                                          int32_t row, uint64_t* barrier, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
}

// The same into every block of the cluster whose bit is set in `blocks`, at the same address, with
// the barrier at the same address counting there.
__device__ __forceinline__ void copy_tile_multicast(void* to, const CUtensorMap* map,
                                                    int32_t column, int32_t row, uint64_t* barrier,
                                                    uint16_t blocks, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5, %6;" ::"r"(
          shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier)), "h"(blocks), "l"(policy)
      : "memory");
}

// One box of a tensor of three dimensions, as above. Coordinates innermost first.
__device__ __forceinline__ void copy_box_3d(uint32_t to, const CUtensorMap* map, uint32_t barrier,
                                            int x, int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z)
      : "memory");
}
__device__ __forceinline__ void copy_box_3d_multicast(uint32_t to, const CUtensorMap* map,
                                                      uint32_t barrier, uint16_t blocks, int x,
                                                      int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(to),
      "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "h"(blocks)
      : "memory");
}

// The box from memory to the L2 cache.
__device__ __forceinline__ void prefetch_box_3d(const CUtensorMap* map, int x, int y, int z) {
  asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global [%0, {%1, %2, %3}];" ::"l"(map), "r"(x),
               "r"(y), "r"(z)
               : "memory");
}

// `bytes` of shared memory to remote_address() of a place; they count at the remote_address() of a
// barrier there. Addresses and bytes multiples of 16.
__device__ __forceinline__ void copy_to_peer(uint32_t to, uint32_t from, uint32_t barrier,
                                             uint32_t bytes) {
  asm volatile(
      "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, "
      "[%3];" ::"r"(to),
      "r"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

// Memory to the L2 cache. Address and bytes multiples of 16.
__device__ __forceinline__ void prefetch_bulk(const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}

// Copies a tile out; what lies outside the matrix is dropped. Then commit_stores().
__device__ __forceinline__ void store_tile(const void* from, const CUtensorMap* map, int32_t column,
                                           int32_t row) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map),
      "r"(column), "r"(row), "r"(shared_address(from))
      : "memory");
}
__device__ __forceinline__ void commit_stores() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Waits until this thread's stores have read their shared memory.
__device__ __forceinline__ void wait_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
// Waits until this thread's stores are done.
__device__ __forceinline__ void wait_stores() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// Shared memory written by ordinary stores becomes visible to the copy engine.
__device__ __forceinline__ void fence_async_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// A map in global memory that ordinary stores or a memcpy wrote becomes usable by the copy engine.
__device__ __forceinline__ void acquire_map(const CUtensorMap* map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.gpu [%0], 128;" ::"l"(map) : "memory");
}

// --- clusters and launches ----------------------------------------------------------------------

__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// Every thread of every block of the cluster arrives and waits.
__device__ __forceinline__ void cluster_sync() {
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
}

// The same, ordering no memory: nobody needs this block's shared memory any more.
__device__ __forceinline__ void cluster_sync_relaxed() {
  asm volatile(
      "barrier.cluster.arrive.relaxed.aligned;\n"
      "barrier.cluster.wait.aligned;" ::
          : "memory");
}

// What this thread wrote to the shared memory of the cluster is visible there before what it does
// next.
__device__ __forceinline__ void cluster_fence() {
  asm volatile("fence.acq_rel.cluster;" ::: "memory");
}

// Address in the shared memory of another block of the cluster.
__device__ __forceinline__ uint32_t remote_address(Place place, uint32_t block_rank) {
  uint32_t remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(remote)
               : "r"(place.address), "r"(block_rank));
  return remote;
}
__device__ __forceinline__ float4 load_remote_float4(uint32_t address) {
  float4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
}
__device__ __forceinline__ void store_remote(uint32_t address, float value) {
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
}

// Programmatic dependent launch: the next kernel may start its prologue; this kernel waits for the
// memory of the ones before it. Both do nothing in a kernel launched without the attribute.
__device__ __forceinline__ void let_next_kernel_start() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
__device__ __forceinline__ void wait_previous_kernels() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

}  // namespace galley::kernels::cuda::hopper
