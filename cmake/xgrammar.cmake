# Target xgrammar: the grammar engine behind src/text/grammar.h, from its source package, without
# its Python and without its CMakeLists.txt (which asks for link-time optimisation of everything).
#
# The library has no bound on the work of one call, and some mistakes that matter here. Copies of a
# few files are changed before they are compiled: calls of text/grammar_spend.h where work is done,
# and the mistakes. Configuring fails when a place is not found.
set(GALLEY_XGRAMMAR ${PROJECT_SOURCE_DIR}/.deps/xgrammar-0.2.8 CACHE PATH "xgrammar's unpacked source package")
if(NOT EXISTS ${GALLEY_XGRAMMAR}/unpacked-from)
  execute_process(COMMAND ${PROJECT_SOURCE_DIR}/tools/setup/fetch RESULT_VARIABLE failed)
  if(failed OR NOT EXISTS ${GALLEY_XGRAMMAR}/include/xgrammar/xgrammar.h)
    message(FATAL_ERROR "there is no xgrammar in ${GALLEY_XGRAMMAR}: tools/setup/fetch (above) says what to do")
  endif()
endif()

file(GLOB xgrammar_sources ${GALLEY_XGRAMMAR}/cpp/*.cc ${GALLEY_XGRAMMAR}/cpp/converter_ext/*.cc
     ${GALLEY_XGRAMMAR}/cpp/support/*.cc)

# galley_patched(FILE BEFORE AFTER): FILE is built from a copy that says AFTER at the only place
# where it says BEFORE.
function(galley_patched file before after)
  set(original ${GALLEY_XGRAMMAR}/cpp/${file})
  set(copy ${CMAKE_BINARY_DIR}/xgrammar/${file})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${original})
  if(copy IN_LIST xgrammar_sources)
    file(READ ${copy}.in text)
  else()
    file(READ ${original} text)
  endif()
  string(FIND "${text}" "${before}" first)
  string(FIND "${text}" "${before}" last REVERSE)
  if(first EQUAL -1 OR NOT first EQUAL last)
    message(FATAL_ERROR "${original} does not say '${before}' exactly once: cmake/xgrammar.cmake is for another version")
  endif()
  string(REPLACE "${before}" "${after}" text "${text}")
  file(WRITE ${copy}.in "${text}")
  configure_file(${copy}.in ${copy} COPYONLY)
  set_source_files_properties(${copy} PROPERTIES COMPILE_OPTIONS "-include;text/grammar_spend.h")
  list(REMOVE_ITEM xgrammar_sources ${original} ${copy})
  set(xgrammar_sources ${xgrammar_sources} ${copy} PARENT_SCOPE)
endfunction()
# galley_bounded(FILE BEFORE CALL): `CALL` stands behind BEFORE.
macro(galley_bounded file before call)
  galley_patched(${file} "${before}" "${before}\n  ${call}")
endmacro()
set(step "::galley::text::spend_grammar_step();")
set(state "::galley::text::spend_grammar_state();")
galley_bounded(earley_parser.cc "bool EarleyParser::Advance(const uint8_t ch, bool debug_print) {" "${step}")
galley_bounded(grammar_builder.cc "int32_t GrammarBuilder::AddGrammarExpr(const GrammarExpr& grammar_expr) {" "${state}")
galley_bounded(fsm.cc "  int AddState() {" "${state}")
galley_bounded(fsm.cc "  void AddEdge(int from, int to, int32_t min, int32_t max) {" "${step}")
galley_bounded(fsm.cc "  while (now_process < static_cast<int>(closures.size())) {" "${step}")
galley_bounded(fsm.cc "  while (!working_set.empty()) {" "${step}")
# Strings with a length may hold control characters, which JSON forbids; those without may not.
galley_patched(json_schema_converter.cc
  [==[builder_.AddCharacterClass({{'"', '"'}, {'\\', '\\'}, {'\r', '\r'}, {'\n', '\n'}}, true);]==]
  [==[builder_.AddCharacterClass({{0, 0x1f}, {'"', '"'}, {'\\', '\\'}}, true);]==])
# (-b+)? may be left out by stepping to where b may be repeated, so that it takes "b".
galley_patched(fsm.cc
  "  if (!ends_.empty()) {\n    fsm.AddEpsilonEdge(start_, ends_.front());\n  }\n  return FSMWithStartEnd(fsm, start_, ends_);"
  "  const auto new_start = fsm.AddState();\n  fsm.AddEpsilonEdge(new_start, start_);\n  auto ends = ends_;\n  ends.push_back(new_start);\n  return FSMWithStartEnd(fsm, new_start, ends);")
# x{2,} is repeated by stepping back to where another repetition inside x may begin.
galley_patched(fsm_builder.cc "    int end_state_of_lower_bound_fsm = -1;" "    const int loop_start = result.NumStates() + child.GetStart();\n    int end_state_of_lower_bound_fsm = -1;")
galley_patched(fsm_builder.cc "AddEpsilonEdge(end, end_state_of_lower_bound_fsm)" "AddEpsilonEdge(end, loop_start)")
# b|(c|b{1,3}): the end of b is merged with the first b of b{1,3}, and then with the end of c.
galley_patched(fsm.cc "      if (outgoing_count == 0) {\n        if (result.IsEndState(i)) {"
  "      if (outgoing_count == 0) {\n        if (union_find_set.Count(i)) continue;\n        if (result.IsEndState(i)) {")
# Character classes hold what is no UTF-8: halves of surrogate pairs, and forms longer than need be.
galley_patched(fsm_builder.cc
  "      uint32_t multi_byte_low = std::max<uint32_t>(low, kMax1ByteUnicode + 1);\n      AddPackedUTF8RangeEdges(\n          *fsm, from, to, CodepointToPackedUTF8(multi_byte_low), CodepointToPackedUTF8(high)\n      );"
  "      constexpr CodepointRange kWidths[] = {{0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, 0x10FFFF}};\n      for (const auto& [first, last] : kWidths) {\n        const uint32_t begin = std::max<uint32_t>(low, first);\n        const uint32_t end = std::min<uint32_t>(high, last);\n        if (begin <= end) AddPackedUTF8RangeEdges(*fsm, from, to, CodepointToPackedUTF8(begin), CodepointToPackedUTF8(end));\n      }")
galley_patched(grammar_functor.cc
  "  constexpr uint32_t width_ends[] = {0x7F, 0x7FF, 0xFFFF, 0x10FFFF};\n  for (uint32_t width_end : width_ends) {"
  "  constexpr uint32_t width_ends[] = {0x7F, 0x7FF, 0xD7FF, 0xFFFF, 0x10FFFF};\n  for (uint32_t width_end : width_ends) {\n    if (low >= 0xD800 && low < 0xE000) low = 0xE000;")
# A pattern that the automaton cannot have is tried in a way that lets quotes and backslashes into
# the JSON text as they are.
galley_patched(json_schema_converter.cc "  // Keep regex conversion independent. Only the uncommon"
  "  XGRAMMAR_CHECK(!json_string || !can_use_fsm) << \"the pattern \" << regex << \" is not supported: what it matches would have to be escaped in JSON, or it looks around\";\n  // Keep regex conversion independent. Only the uncommon")

add_library(xgrammar STATIC EXCLUDE_FROM_ALL ${xgrammar_sources} ${PROJECT_SOURCE_DIR}/src/text/grammar_hooks.cc)
target_include_directories(xgrammar SYSTEM PUBLIC ${GALLEY_XGRAMMAR}/include ${GALLEY_XGRAMMAR}/3rdparty/dlpack/include
                           PRIVATE ${GALLEY_XGRAMMAR}/3rdparty/picojson)
target_include_directories(xgrammar PRIVATE ${GALLEY_XGRAMMAR}/cpp ${PROJECT_SOURCE_DIR}/src)
# Warnings are errors of ours to report (text/grammar.cc), not lines on standard error.
target_compile_definitions(xgrammar PRIVATE XGRAMMAR_ENABLE_CPPTRACE=0 XGRAMMAR_ENABLE_INTERNAL_CHECK=0
                           XGRAMMAR_LOG_CUSTOMIZE=1)
target_compile_features(xgrammar PRIVATE cxx_std_17)
set_target_properties(xgrammar PROPERTIES CXX_STANDARD 17)
target_compile_options(xgrammar PRIVATE -O2 -g1 -w)
if(GALLEY_SANITIZE)  # memory and threads; undefined behaviour is its authors' to find
  string(REPLACE ",undefined" "" sanitize ${GALLEY_SANITIZE})
  target_compile_options(xgrammar PRIVATE -fsanitize=${sanitize} -fno-sanitize-recover=all -fno-omit-frame-pointer)
endif()
