// The fields that say what an answer must look like: OpenAI's response_format, vLLM's
// structured_outputs and its older guided_*. At most one of them may be given.
#pragma once

#include "api/json_reader.h"
#include "api/sampling_fields.h"

namespace galley::api {

void read_grammar_fields(FieldReader& reader, const Limits& limits, CommonFields& out);

// The same in other interfaces: member `key`, {"type": "text" | "json_object" | "json_schema",
// "schema": ...}, as in OpenAI's responses and Anthropic's messages.
void read_flat_format(FieldReader& reader, std::string_view key, const Limits& limits,
                      CommonFields& out);

// Ollama's `format`: "json" or a JSON Schema.
void read_ollama_format(FieldReader& reader, const Limits& limits, CommonFields& out);

}  // namespace galley::api
