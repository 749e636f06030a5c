// The filters of the Jinja engine by name: jinja2's, without those that need random numbers or
// URLs. Inside text/ only; has_filter() and Machine::filter() are the way in.
#pragma once

#include <string_view>
#include <unordered_map>

#include "text/jinja_machine.h"

namespace galley::text::jinja {

using Filter = Value (*)(Machine&, const Value&, Arguments&);
using FilterTable = std::unordered_map<std::string_view, Filter>;

const FilterTable& list_filters();  // what takes or gives several values

}  // namespace galley::text::jinja
