# galley_page(OUT_VARIABLE): names a generated source that holds the files of the page (web/, and
# the libraries it uses, from the system's packages), and makes it again when one of them changes.
#
# The bytes come into the program by the assembler's .incbin: nothing is converted or compiled.
set(GALLEY_PAGE_LIBRARIES
  "marked.js=libjs-marked=/usr/share/javascript/marked/marked.min.js"
  "katex.js=libjs-katex=/usr/share/javascript/katex/katex.js"
  "katex.css=libjs-katex=/usr/share/javascript/katex/katex.min.css"
  "highlight.js=libjs-highlight.js=/usr/share/javascript/highlight.js/highlight.min.js"
  "chart.js=libjs-chart.js=/usr/share/javascript/chart.js/chart.min.js")

function(galley_page out)
  set(from ${PROJECT_SOURCE_DIR}/web)
  set(to ${CMAKE_CURRENT_BINARY_DIR}/page_files.cc)
  set(files "")  # PATH=FILE
  file(GLOB own CONFIGURE_DEPENDS ${from}/*.html ${from}/*.css ${from}/*.js ${from}/*.svg)
  foreach(file IN LISTS own)
    get_filename_component(name ${file} NAME)
    if(name STREQUAL "index.html")
      list(APPEND files "/=${file}")
    else()
      list(APPEND files "/ui/${name}=${file}")
    endif()
  endforeach()
  foreach(library IN LISTS GALLEY_PAGE_LIBRARIES)
    string(REGEX MATCH "^([^=]+)=([^=]+)=(.+)$" _ ${library})
    if(NOT EXISTS ${CMAKE_MATCH_3})
      message(FATAL_ERROR "${CMAKE_MATCH_3} is not there: install ${CMAKE_MATCH_2} (make setup)")
    endif()
    list(APPEND files "/ui/lib/${CMAKE_MATCH_1}=${CMAKE_MATCH_3}")
  endforeach()
  file(GLOB fonts /usr/share/fonts/truetype/katex/*.woff2)
  if(NOT fonts)
    message(FATAL_ERROR "KaTeX's fonts are not there: install fonts-katex (make setup)")
  endif()
  foreach(font IN LISTS fonts)
    get_filename_component(name ${font} NAME)
    list(APPEND files "/ui/lib/fonts/${name}=${font}")
  endforeach()

  set(symbols "")
  set(rows "")
  set(depends "")
  set(i 0)
  foreach(entry IN LISTS files)
    string(REGEX MATCH "^([^=]+)=(.+)$" _ ${entry})
    set(path ${CMAKE_MATCH_1})
    get_filename_component(file ${CMAKE_MATCH_2} REALPATH)
    file(SHA256 ${file} hash)
    string(SUBSTRING ${hash} 0 24 hash)
    string(APPEND symbols "GALLEY_EMBED(${i}, \"${file}\");\n")
    string(APPEND rows "      {\"${path}\", {galley_page_${i}, galley_page_${i}_end}, \"\\\"${hash}\\\"\"},\n")
    list(APPEND depends ${file})
    math(EXPR i "${i} + 1")
  endforeach()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${depends})
  configure_file(${PROJECT_SOURCE_DIR}/cmake/page_files.cc.in ${to} @ONLY)
  set_source_files_properties(${to} PROPERTIES OBJECT_DEPENDS "${depends}")
  set(${out} ${to} PARENT_SCOPE)
endfunction()
