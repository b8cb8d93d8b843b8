#!/bin/bash
# ctest: TIMEOUT 200 LABELS plain
# The IOR programs as a user builds them, by -DIOR_ROOT on an installed Mayfly. IOR is not to be had here: what is named
# is a stand-in of a built tree, composed of the driver and the interfaces of tests/ior at the places where IOR has its
# own. Three trees, as IOR's interface has changed: `remove` (main), `delete` (4.0), all parameters with each call (3.3).
# A tree that is none, or was not built, is refused in a sentence.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have mpirun mpicc cmake ar mayflyd mayfly
cmake --install "$MAYFLY_BUILD_DIR" --prefix "$work/mayfly" >"$work/log" 2>&1 || e2e_fail "install: $(cat "$work/log")"
plugin=$work/mayfly/share/mayfly/ior_plugin
[[ -e $plugin/CMakeLists.txt ]] || e2e_fail "the plugin is not installed"
ior=$MAYFLY_SOURCE_DIR/tests/ior

# The driver calls a function of a library that is linked only by the flags that the tree itself names.
mkdir "$work/flags"
echo 'int Inside(void); int Inside(void) { return 0; }' >"$work/flags/inside.c"
echo 'int Inside(void); __attribute__((constructor)) static void Needs(void) { Inside(); }' >"$work/flags/needs.h"
cc -fPIC -c -o "$work/flags/inside.o" "$work/flags/inside.c" && ar rcs "$work/flags/libinside.a" "$work/flags/inside.o" ||
  e2e_fail "the library of the flags"

tree() { # NAME INTERFACE REMOVE
  local src=$work/$1/src
  mkdir -p "$src"
  cp "$ior/interface.h" "$work/$1"
  cp "$ior/interface_$2/aiori.h" "$ior/programs/"*.h "$src"
  sed -i "s/(\*remove)(char/(*$3)(char/" "$src/aiori.h"
  echo '/* what configure found */' >"$src/config.h"
  mpicc -std=gnu11 -O1 -fPIC -DMAYFLY_IOR_"$2" -DMAYFLY_IOR_REMOVE="$3" -include "$work/flags/needs.h" -I"$src" -I"$ior" \
    -c -o "$src/driver.o" "$ior/driver.c" && ar rcs "$src/libaiori.a" "$src/driver.o" || e2e_fail "the stand-in $1"
  if [[ $2 == 4 ]]; then
    printf 'CFLAGS=-O9\nLDFLAGS=-L%s -linside\n' "$work/flags" >"$src/build.conf"
  else
    printf 'CFLAGS = -O9\nLDFLAGS = -L%s\nLIBS = -linside\n' "$work/flags" >"$src/Makefile"
  fi
}
configure() { # BUILD [-DIOR_ROOT=TREE]
  cmake -S "$plugin" -B "$work/$1" -DCMAKE_PREFIX_PATH="$work/mayfly" "${@:2}" >"$work/log" 2>&1
}
refused() { # SENTENCE [-DIOR_ROOT=TREE]
  configure refused "${@:2}" && e2e_fail "configured, though $1"
  # cmake breaks lines; two "Error at" are two complaints.
  [[ $(tr -s ' \n' ' ' <"$work/log") == *" $1 "* && $(grep -c 'Error at' "$work/log") == 1 ]] || e2e_fail "instead of \"$1\": $(cat "$work/log")"
}
play() { # PROGRAM
  timeout 120 mpirun -n 2 --oversubscribe "$@" >"$work/log" 2>&1 || e2e_fail "$*: status $?: $(cat "$work/log")"
  [[ $(tail -n 1 "$work/log") == ok ]] || e2e_fail "$*: $(cat "$work/log")"
}

tree main 4 remove
tree 4.0 4 delete
tree 3.3 3 delete
e2e_start 2 --memory 256M
for version in main 4.0 3.3; do
  { configure "$version.build" "-DIOR_ROOT=$work/$version" && cmake --build "$work/$version.build" &&
    cmake --install "$work/$version.build" --prefix "$work/$version.programs"; } >>"$work/log" 2>&1 || e2e_fail "$version: $(cat "$work/log")"
  for program in mdtest md-workbench; do play "$work/$version.build/$program-mayfly"; done
  play env -u LD_LIBRARY_PATH "$work/$version.programs/bin/ior-mayfly"
  echo "$version: ok"
done
[[ -z $(mayfly ls /) ]] || e2e_fail "left files: $(mayfly ls /)"
e2e_stop

# A tree without one of the programs gives the others.
rm "$work/main/src/md-workbench.h"
configure less "-DIOR_ROOT=$work/main" || e2e_fail "without md-workbench: $(cat "$work/log")"
grep -q 'this IOR has no md-workbench: md-workbench-mayfly is not built' "$work/log" || e2e_fail "$(cat "$work/log")"

name='name an IOR tree in which ./configure and make have run'
refused "nothing to build: $name with -DIOR_ROOT=TREE"
refused "IOR_ROOT=$work/none has no src/aiori.h: $name" "-DIOR_ROOT=$work/none"
rm "$work/main/src/build.conf"
refused "IOR_ROOT=$work/main has neither src/build.conf nor src/Makefile, which say what IOR is linked with: name the tree in which ./configure has run" \
  "-DIOR_ROOT=$work/main"
rm "$work/3.3/src/libaiori.a"
refused "IOR_ROOT=$work/3.3 has no src/libaiori.a: $name" "-DIOR_ROOT=$work/3.3"
rm "$work/4.0/src/config.h"
refused "IOR_ROOT=$work/4.0 has no src/config.h: $name" "-DIOR_ROOT=$work/4.0"
sed -i 's/(\*get_options)(.*;/(*get_options)();/' "$work/main/src/aiori.h"
refused "IOR_ROOT=$work/main is older than IOR 3.3, the oldest that the backend fits: name a newer tree" "-DIOR_ROOT=$work/main"
echo "all as expected"
