#!/usr/bin/env bash
# ctest: TIMEOUT 600
# Stage-in from a path that only some nodes see as the command does: servers with mounts of their own find nothing there, an
# empty folder, another file in its place, or a folder hidden in the middle of the tree. All of it comes through, by
# those who see it; and where the command itself sees nothing, nothing is begun.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[[ $(id -u) == 0 ]] || e2e_skip "not root: cannot mount"
unshare -m true 2>/dev/null || e2e_skip "this kernel or container does not let root make namespaces"
mayflyd=$(command -v mayflyd) || e2e_skip "mayflyd was not built"

source=$work/shared/source
mkdir -p "$source/a/b" "$source/hidden/deep" "$work/bin" "$work/empty"
for i in {1..150}; do
  head -c $((i * 37)) /dev/urandom >"$source/a/$i" && head -c $((i * 91)) /dev/urandom >"$source/a/b/$i"
  head -c $((i * 53)) /dev/urandom >"$source/hidden/$i" && head -c 10 /dev/urandom >"$source/hidden/deep/$i"
done
head -c 40000000 /dev/urandom >"$source/large"
head -c 40000000 /dev/zero >"$work/other" && touch -r "$source/large" "$work/other"

# mayflyd as ranks 2 and 3 start it: what $work/view does happens in a mount namespace of their own.
cat >"$work/bin/mayflyd" <<EOF
#!/bin/bash
case \${OMPI_COMM_WORLD_RANK:-0} in
  [01]) exec "$mayflyd" "\$@" ;;
  *) exec unshare -m "$work/view" "$mayflyd" "\$@" ;;
esac
EOF
chmod +x "$work/bin/mayflyd"
PATH=$work/bin:$PATH

view() { # COMMANDS: of ranks 2 and 3, before they start
  printf '#!/bin/bash\nset -e\n%s\nexec "$@"\n' "$1" >"$work/view"
  chmod +x "$work/view"
}
# All of the source is in the session as the command sees it; and was copied by servers 0 and 1 and the command at most.
whole() { # WHAT SERVERS
  mayfly stage-in --json "$source" /in >"$work/report" 2>"$work/said" || e2e_fail "$1: $(cat "$work/said")"
  rm -rf "$work/out"
  mayfly stage-out /in "$work/out" 2>"$work/flushed" || e2e_fail "$1: stage-out: $(cat "$work/flushed")"
  diff -r "$source" "$work/out" >"$work/difference" || e2e_fail "$1: $(head -n 20 "$work/difference")"
  # What another sees in its place must not lend the directory its times and mode.
  diff <(cd "$source" && find . -printf '%p %m %T@\n' | sort) <(cd "$work/out" && find . -printf '%p %m %T@\n' | sort) \
    >"$work/difference" || e2e_fail "$1: attributes: $(head -n 20 "$work/difference")"
  ! grep -Eo "\(member [$2]\)" "$work/report" || e2e_fail "$1: a server that does not see it took part"
  echo "$1: $(tail -n 1 "$work/said")"
}

view "mount -t tmpfs none '$work/shared'"
e2e_start 4 --memory 256M
whole "not there on two of four nodes" 23
# The other way round: nothing is begun.
unshare -m bash -c "mount -t tmpfs none '$work/shared'; exec mayfly stage-in '$source' /nothing" >"$work/said" 2>&1 &&
  e2e_fail "the command sees no source, and that is no failure"
(($(wc -l <"$work/said") == 1)) || e2e_fail "more than a sentence: $(cat "$work/said")"
grep -q "No such file or directory; name a file or directory that this node can read" "$work/said" ||
  e2e_fail "what it says: $(cat "$work/said")"
! mayfly ls /nothing >/dev/null 2>&1 || e2e_fail "something was begun"
# Only this command's node sees it: it says that it does everything itself.
unshare -m bash -c "mount -t tmpfs none '$work/empty'; cp -a '$source' '$work/empty/mine'; exec mayfly stage-in '$work/empty/mine' /mine" \
  >"$work/said" 2>&1 || e2e_fail "a source of one node: $(cat "$work/said")"
grep -q "no server sees the source" "$work/said" || e2e_fail "a source of one node: $(cat "$work/said")"
mayfly stage-out /mine "$work/mine" 2>"$work/said" || e2e_fail "stage-out: $(cat "$work/said")"
diff -r "$source" "$work/mine" >"$work/difference" || e2e_fail "a source of one node: $(head -n 20 "$work/difference")"
e2e_stop

view "mount -t tmpfs none '$source'"
e2e_start 4 --memory 256M
whole "an empty folder in its place on two of four nodes" 23
e2e_stop

view "mount -t tmpfs none '$source/hidden'; mount --bind '$work/other' '$source/large'; mount --bind '$work/other' '$source/a/b/7'"
e2e_start 4 --memory 256M
for run in 1 2 3; do
  whole "hidden in the middle on two of four nodes, $run" -
  mayfly rm -r /in || e2e_fail "rm"
done
e2e_stop
echo "all as expected"
