# Puts the page of `palimpsest report` together and writes it as a C++ source:
#   cmake -DPAGE=FOLDER -DCHART=chart.min.js -DLICENCE=copyright -DOUTPUT=page_template.cpp -P embed.cmake
# Chart.js and its licence come from Debian's package libjs-chart.js; nothing of them is kept in these sources.
cmake_minimum_required(VERSION 3.25)  # or "@CHART@" would be taken for a variable
file(READ ${PAGE}/page.html page)
file(READ ${PAGE}/style.css style)
set(script "")
foreach(part base figures tables heat_maps sections main)
  file(READ ${PAGE}/${part}.js text)
  string(APPEND script "${text}\n")
endforeach()
file(READ ${CHART} chart)
file(READ ${LICENCE} licence)
string(REPLACE "&" "&amp;" licence "${licence}")
string(REPLACE "<" "&lt;" licence "${licence}")
foreach(part chart script)
  string(FIND "${${part}}" "</script" place)
  if(NOT place EQUAL -1)
    message(FATAL_ERROR "${part}: holds </script, which would end the element that it stands in")
  endif()
endforeach()
string(REPLACE "@STYLE@" "${style}" page "${page}")
string(REPLACE "@LICENCE@" "${licence}" page "${page}")
string(REPLACE "@SCRIPT@" "${script}" page "${page}")
string(REPLACE "@CHART@" "${chart}" page "${page}")
file(WRITE ${OUTPUT} "// Made by launch/report/page/embed.cmake.\n#include \"launch/report/page.h\"\n\n"
  "namespace palimpsest {\n\nstd::string_view page_template() {\n  static constexpr char page[] = R\"~embedded~(")
file(APPEND ${OUTPUT} "${page}")
file(APPEND ${OUTPUT} ")~embedded~\";\n  return {page, sizeof(page) - 1};\n}\n\n}  // namespace palimpsest\n")
