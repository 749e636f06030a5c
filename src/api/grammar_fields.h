// The fields that say what an answer must look like: OpenAI's response_format, vLLM's
// structured_outputs and its older guided_*. At most one of them may be given.
#pragma once

#include "api/json_reader.h"
#include "api/sampling_fields.h"

namespace galley::api {

void read_grammar_fields(FieldReader& reader, const Limits& limits, CommonFields& out);

}  // namespace galley::api
