# cmake -D XTAPE=PROGRAM -D FOLDER=DIR -P round_trip.cmake -- COMMAND...
# Exports microgpt, runs the command on the folder, and has what it wrote judged.
set(command "")
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE 8 ${last})
    list(APPEND command "${CMAKE_ARGV${i}}")
endforeach()

file(REMOVE_RECURSE "${FOLDER}")
execute_process(COMMAND ${XTAPE} audit microgpt --export ${FOLDER} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${command} ${FOLDER} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${XTAPE} audit microgpt --against ${FOLDER} COMMAND_ERROR_IS_FATAL ANY)
