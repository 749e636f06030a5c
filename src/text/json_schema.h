// From a client's JSON Schema to one the grammar engine obeys to the letter.
//
// The engine reads one thing of a schema object ($ref, const, enum, anyOf, ..., type: the first it
// finds) and passes over the rest in silence. Here every object is brought into a shape of which
// nothing is passed over, or is refused by the path of its keyword. The result may allow less than
// the schema (properties come in the order given and no others do, a pattern spans its whole
// string), never more. docs/api.md lists what is supported. Pure.
#pragma once

#include <boost/json.hpp>
#include <string>

#include "base/status.h"
#include "text/grammar_limits.h"

namespace galley::text {

// Errors  kInvalid  a keyword that is unknown how to obey, or wrong: "properties.a.not is not ..."
Result<boost::json::value> obeyable_schema(const boost::json::value& schema,
                                           const SchemaLimits& limits = {});

}  // namespace galley::text
