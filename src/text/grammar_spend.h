// The two calls that the grammar engine's own files get (cmake/xgrammar.cmake says where). They
// count against the calling thread's budget, see text/grammar_hooks.h. C++17, and nothing else in
// here.
#pragma once

namespace galley::text {

// One byte tried, one edge made, ...; one state made. Without a budget nothing is counted.
void spend_grammar_step();
void spend_grammar_state();

}  // namespace galley::text
