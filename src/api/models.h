// GET /v1/models and /v1/models/{name}.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace galley::api {

struct ModelCard {
  std::vector<std::string> names;  // served names, the first is the default
  std::string root;                // what is served, as vLLM reports it
  int64_t created_s = 0;
  int32_t max_model_len = 0;
};

std::string model_list(const ModelCard& card);
std::string model_object(const ModelCard& card, const std::string& name);

}  // namespace galley::api
