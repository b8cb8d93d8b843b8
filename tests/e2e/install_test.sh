#!/bin/bash
# ctest: TIMEOUT 300 LABELS plain
# What is installed is enough: the examples of share/examples build against an installation, with pkg-config and with
# CMake, run after the installation was moved, and answer a session that is none with an error instead of a fault.
set -euo pipefail
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND"' ERR
source_dir=${MAYFLY_SOURCE_DIR:?set by ctest} build_dir=${MAYFLY_BUILD_DIR:?set by ctest}
skip() { echo "skipped: $*"; exit 77; }
[[ -e $build_dir/libmayfly.so ]] || skip "this build has no libmayfly"
[[ -e $source_dir/share/examples/hello.c && -e $source_dir/share/examples/hello.cpp ]] || skip "there are no examples"
command -v pkg-config >/dev/null || skip "pkg-config is not installed"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
step() { echo "--- $*"; }

step "install, then move"
cmake --install "$build_dir" --prefix "$work/first" >"$work/install.log"
prefix=$work/second
mv "$work/first" "$prefix"
for file in bin/mayfly bin/mayflyd include/mayfly/mayfly.h share/mayfly/mayfly-env.sh share/mayfly/slurm/job.sbatch \
  share/mayfly/pbs/job.pbs share/man/man1/mayfly.1 share/man/man1/mayflyd.1 share/man/man3/mayfly.3 \
  share/bash-completion/completions/mayfly; do
  [[ -e $prefix/$file ]] || { echo "FAILED: $file is not installed"; exit 1; }
done
if grep -rIl --exclude-dir=examples --exclude-dir=doc -e "$source_dir" -e "$build_dir" "$prefix"; then
  echo "FAILED: the files above name the folders they were built in"
  exit 1
fi
library=$(find "$prefix" -name 'libmayfly.so.0')
library_dir=$(dirname "$library")
for program in "$prefix"/bin/*; do
  if env -u LD_LIBRARY_PATH ldd "$program" | grep 'not found'; then echo "FAILED: $program lacks libraries"; exit 1; fi
  env -u LD_LIBRARY_PATH timeout 20 "$program" --help >"$work/help" 2>&1 || { cat "$work/help"; exit 1; }
done

# Only what the header declares may be visible, so that the user's own libraries cannot collide with ours.
step "exported names"
if nm -D --defined-only "$library" | awk '$2 ~ /[TDBRVW]/ { print $3 }' | grep -v -e '^mayfly_' -e '^_init$' -e '^_fini$' \
  -e '^MAYFLY'; then
  echo "FAILED: libmayfly exports the names above"
  exit 1
fi

# must_answer PROGRAM: with a session file that is damaged it ends by itself, with an exit code that is no success and no
# signal; with a session it works.
echo "not a session" >"$work/damaged.json"
chmod 600 "$work/damaged.json"
programs=()
must_answer() {
  local status=0
  env -u LD_LIBRARY_PATH MAYFLY_SESSION="$work/damaged.json" timeout 90 "$1" >"$work/output" 2>&1 || status=$?
  cat "$work/output"
  ((status > 0 && status < 124)) || { echo "FAILED: $1 ended with $status"; exit 1; }
  programs+=("$1")
}

step "pkg-config"
export PKG_CONFIG_PATH=$library_dir/pkgconfig
[[ $(pkg-config --modversion mayfly) =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]]
read -r -a flags < <(pkg-config --cflags --libs mayfly)
cc -std=c11 -Wall -Wextra -Wpedantic -Werror -D_GNU_SOURCE -o "$work/hello_c" "$source_dir/share/examples/hello.c" \
  "${flags[@]}" "-Wl,-rpath,$library_dir"
c++ -std=c++17 -Wall -Wextra -Werror -o "$work/hello_cpp" "$source_dir/share/examples/hello.cpp" "${flags[@]}" \
  "-Wl,-rpath,$library_dir"
must_answer "$work/hello_c"
must_answer "$work/hello_cpp"

step "the header by itself, as C and as C++"
echo '#include <mayfly/mayfly.h>' >"$work/header.c"
cc -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only "-I$prefix/include" "$work/header.c"
c++ -x c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only "-I$prefix/include" "$work/header.c"

step "CMake"
mkdir "$work/user"
cat >"$work/user/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.16)
project(user LANGUAGES C CXX)
find_package(mayfly 0.1 REQUIRED)
add_executable(hello_c ${EXAMPLES}/hello.c)
target_compile_definitions(hello_c PRIVATE _GNU_SOURCE)
add_executable(hello_cpp ${EXAMPLES}/hello.cpp)
target_compile_features(hello_cpp PRIVATE cxx_std_17)
target_link_libraries(hello_c PRIVATE mayfly::mayfly)
target_link_libraries(hello_cpp PRIVATE mayfly::mayfly)
END
cmake -S "$work/user" -B "$work/user/build" -DCMAKE_PREFIX_PATH="$prefix" -DEXAMPLES="$source_dir/share/examples" \
  >"$work/cmake.log" 2>&1 || { cat "$work/cmake.log"; exit 1; }
cmake --build "$work/user/build" >"$work/cmake.log" 2>&1 || { cat "$work/cmake.log"; exit 1; }
must_answer "$work/user/build/hello_c"
must_answer "$work/user/build/hello_cpp"

if command -v mpirun >/dev/null && [[ -x $prefix/bin/mayflyd ]]; then
  step "the examples at work, with the servers of the installation"
  export PATH=$prefix/bin:$PATH MAYFLY_SESSION=$work/session.json MAYFLY_RUNTIME_DIR=$work/runtime
  mpirun -n 2 --oversubscribe --bind-to none mayflyd --member-per rank --memory 64M </dev/null >"$work/servers.log" 2>&1 &
  servers=$!
  trap 'kill "$servers" 2>/dev/null || true; wait || true; rm -rf "$work"' EXIT
  timeout 60 mayfly wait || { cat "$work/servers.log"; exit 1; }
  for program in "${programs[@]}"; do env -u LD_LIBRARY_PATH timeout 60 "$program"; done
  timeout 60 mayfly stop --no-flush
  wait "$servers"
fi
echo "all as expected"
