// `galley pull`: a model from a hub into the cache, and what --model does with a hub's name.
#include "cli/pull.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "api/json_writer.h"
#include "base/clock.h"
#include "base/file.h"
#include "cli/command.h"
#include "hub/progress.h"

namespace galley::cli {
namespace {

constexpr int64_t kLineEveryMs = 10'000;  // where lines cannot be written over

// One line that changes, on a terminal; else a line now and then.
class Reporter {
 public:
  ~Reporter() {
    if (shown_) std::fputc('\n', stderr);
  }
  void operator()(const std::string& line, bool lasting) {
    if (terminal_) {
      std::fprintf(stderr, "\r\033[K%s%s", line.c_str(), lasting ? "\n" : "");
      std::fflush(stderr);
      shown_ = !lasting;
    } else if (lasting || clock_.now_ms() - last_ms_ >= kLineEveryMs) {
      std::fprintf(stderr, "%s\n", line.c_str());
      if (!lasting) last_ms_ = clock_.now_ms();
    }
  }

 private:
  const bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  const RealClock clock_;
  int64_t last_ms_ = clock_.now_ms();
  bool shown_ = false;
};

bool is_folder(const std::string& path) {
  return ::access((path + "/.").c_str(), F_OK) == 0;
}

}  // namespace

void declare(HubFlags* flags, Settings* settings) {
  settings->add({"revision", "NAME", "branch, tag or commit of a hub's model"}, &flags->revision);
  settings->add_choice({"hub", "NAME", "huggingface or modelscope: where ORG/NAME is"},
                       {"huggingface", "modelscope"}, &flags->hub);
  settings->add({"download-dir", "DIR", "where fetched models are kept"}, &flags->download_dir);
}

bool is_hub_name(const std::string& model) {
  return hub::looks_like_repository(model) && !is_folder(model);
}

Result<hub::Pulled> pull_model(const std::string& repository, const HubFlags& flags) {
  const hub::Source source =
      flags.hub == "modelscope" ? hub::Source::kModelScope : hub::Source::kHuggingFace;
  hub::PullOptions options =
      hub::options_from(source, [](const char* name) { return std::getenv(name); });
  options.repository = repository;
  if (!flags.revision.empty()) options.revision = flags.revision;
  if (!flags.download_dir.empty()) options.cache = flags.download_dir;
  if (!flags.endpoint.empty()) options.endpoint = flags.endpoint;
  options.patterns = flags.include;
  options.connections = flags.connections;
  Reporter reporter;
  options.report = [&reporter](const std::string& line, bool lasting) { reporter(line, lasting); };
  return hub::pull(options);
}

Status run_pull(Args args, const Variables& variables) {
  HubFlags flags;
  std::string repository;
  bool json = false;
  Settings settings("galley pull",
                    "Fetches a model from Hugging Face or ModelScope; prints its folder.");
  settings.add({"repository", "ORG/NAME", "what to fetch"}, &repository);
  settings.positional("ORG/NAME", "repository");
  declare(&flags, &settings);
  settings.add({"endpoint", "URL", "of the hub; else HF_ENDPOINT or MODELSCOPE_ENDPOINT"},
               &flags.endpoint);
  settings.add({"include", "PATTERN", "files to fetch, as '*.json'; else what serving needs"},
               &flags.include);
  settings.add({"connections", "N", "files at a time"}, {.min = 1, .max = 32}, &flags.connections);
  settings.add_switch({"json", "", "print JSON"}, &json);
  settings.example("galley pull deepseek-ai/DeepSeek-V2-Lite-Chat");
  settings.example("HF_TOKEN=hf_... galley serve --model org/private-model");
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  if (repository.empty()) return Status(Code::kInvalid, "which model? galley pull ORG/NAME");
  GALLEY_ASSIGN_OR_RETURN(const hub::Pulled pulled, pull_model(repository, flags));
  if (json) {
    api::JsonWriter out;
    out.begin_object().key("folder").string(pulled.folder).key("commit").string(pulled.commit);
    out.key("files").integer(pulled.files).key("bytes").integer(pulled.bytes);
    out.key("fetched_bytes").integer(pulled.fetched_bytes).end_object();
    std::printf("%s\n", out.text().c_str());
  } else {
    std::fprintf(stderr, "%s: commit %s, %lld files, %s, of which %s came now\n",
                 repository.c_str(), pulled.commit.c_str(), static_cast<long long>(pulled.files),
                 hub::size_text(pulled.bytes).c_str(),
                 hub::size_text(pulled.fetched_bytes).c_str());
    std::printf("%s\n", pulled.folder.c_str());
  }
  return Status();
}

}  // namespace galley::cli
