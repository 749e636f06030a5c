// The OpenAPI document of this server, made from the code that parses: each endpoint's parser reads
// a sample request while a FieldListener notes every field it asks for, with type and bounds.
#pragma once

#include <string>

#include "api/limits.h"

namespace galley::api {

// `version` of the program. Cost: parses each sample a few times, some milliseconds; once at start.
std::string openapi_document(const ParseContext& context, const std::string& version);

}  // namespace galley::api
