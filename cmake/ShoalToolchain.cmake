# Language level, warnings, sanitizers, third-party packages. Everything that is true of every
# target; what a target is made of stands in its own folder.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Debug CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g")
# Instrumented code costs GCC twice as long at -O1, and unit tests do not need the speed; fuzzers do.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(CMAKE_CXX_FLAGS_SANITIZE "-O0 -g1 -fno-omit-frame-pointer")
else()
  set(CMAKE_CXX_FLAGS_SANITIZE "-O1 -g1 -fno-omit-frame-pointer")
endif()

find_program(SHOAL_CCACHE ccache)
if(SHOAL_CCACHE)
  # Paths are hashed relative to this tree, so that a second clone finds what the first has compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}"
    CCACHE_NOHASHDIR=1 "${SHOAL_CCACHE}")
endif()

option(SHOAL_WARNINGS_AS_ERRORS "Fail the build on a warning" OFF)
option(SHOAL_CUDA "Build the parts that need the CUDA Toolkit" OFF)
option(SHOAL_VERIFY_HEADERS "Make targets that compile each public header alone" ON)
set(SHOAL_SANITIZE "" CACHE STRING "Value for -fsanitize=, empty for none")

add_library(shoal_options INTERFACE)
target_include_directories(shoal_options INTERFACE "${PROJECT_SOURCE_DIR}")
target_compile_options(shoal_options INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wimplicit-fallthrough
  $<$<BOOL:${SHOAL_WARNINGS_AS_ERRORS}>:-Werror>)
# GCC 12, optimizing, inlines one half of the pair by which Asio recycles coroutine frames and then
# misses the other; and it sees overlap in std::string's operator+ (GCC bug 105329).
target_compile_options(shoal_options INTERFACE
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<CONFIG:Release>>:-Wno-mismatched-new-delete;-Wno-restrict>)
# Boost 1.74 predates Clang's <coroutine>: without these two it hides asio::awaitable (ADR 0001).
target_compile_definitions(shoal_options INTERFACE
  $<$<CXX_COMPILER_ID:Clang>:BOOST_ASIO_HAS_CO_AWAIT BOOST_ASIO_HAS_STD_COROUTINE>
  BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_BOOST_ARRAY)
if(SHOAL_SANITIZE)
  target_compile_options(shoal_options INTERFACE "-fsanitize=${SHOAL_SANITIZE}"
    -fno-sanitize-recover=all)
  if(SHOAL_SANITIZE MATCHES "undefined")
    # Half of what the instrumentation adds, for errors that AddressSanitizer or a signal shows anyway.
    target_compile_options(shoal_options INTERFACE -fno-sanitize=null,vptr)
  endif()
  target_link_options(shoal_options INTERFACE "-fsanitize=${SHOAL_SANITIZE}")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # Clang 14 cannot place this check's prologue in the parts of a split coroutine.
    target_compile_options(shoal_options INTERFACE -fno-sanitize=function)
  endif()
  if(SHOAL_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 warns that TSan does not model atomic_thread_fence; Asio uses one per scheduler wake-up.
    target_compile_options(shoal_options INTERFACE -Wno-tsan)
  endif()
endif()

find_package(Threads REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CURL REQUIRED)
find_package(pugixml REQUIRED)
find_package(SQLite3 REQUIRED)
# Headers only: libtorrent's own binary interface pins Boost to the system's 1.74 (ADR 0001).
find_package(Boost 1.74 EXACT REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(libtorrent REQUIRED IMPORTED_TARGET libtorrent-rasterbar)
