# Target xgrammar: the grammar engine behind src/text/grammar.h, from its source package, without
# its Python and without its CMakeLists.txt (which asks for link-time optimisation of everything).
#
# The library has no bound on the work of one call, and one mistake that matters here. Copies of a
# few files are changed before they are compiled: calls of text/grammar_spend.h where work is done,
# and the mistake. Configuring fails when a place is not found.
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
