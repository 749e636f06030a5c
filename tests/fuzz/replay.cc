// Runs a fuzz target over the files of a folder, and over every beginning of each, up to a bound.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kBeginningsMax = 512;  // of one file, evenly spaced

// From a copy of its own size, so that a sanitizer sees a read past the end.
void run(const std::string& bytes, size_t size) {
  const std::string input = bytes.substr(0, size);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  size_t files = 0;
  size_t inputs = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(file)), {});
      const size_t step = bytes.size() / kBeginningsMax + 1;
      for (size_t size = 0; size < bytes.size(); size += step, ++inputs) run(bytes, size);
      run(bytes, bytes.size());
      ++inputs;
      ++files;
    }
  }
  std::printf("%zu files, %zu inputs\n", files, inputs);
  return files == 0 ? 1 : 0;
}
