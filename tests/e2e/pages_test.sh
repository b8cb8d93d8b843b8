#!/bin/bash
# ctest: TIMEOUT 120 LABELS plain
# What a newcomer reads says what the programs do: every command and option of --help is in the man pages and nothing
# else is, every call of the header is in mayfly(3), and bash completes them.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have mayfly mayflyd
share=${MAYFLY_SOURCE_DIR:?set by ctest}/share
plain() { sed 's/\\f[BRI]//g; s/\\-/-/g' "$share/man/$1"; }
options() { grep -oE -e '(^|[^a-zA-Z0-9-])--[a-z][a-z-]+' | grep -oE -e '--[a-z-]+' | sort -u; }
# same WHAT WANTED HAVE
same() { diff <(echo "$2") <(echo "$3") >"$work/diff" || e2e_fail "$1: $(cat "$work/diff") (< --help, > the page)"; }

echo "--- mayfly(1)"
commands=$(mayfly --help | sed -n '/^Subcommands:/,$s/^  \([a-z-]*\)\(, \([a-z-]*\)\)\{0,1\} .*/\1 \3/p' | xargs)
[[ $commands == *wait*stage-out*flush*clean* ]] || e2e_fail "commands: $commands"
plain mayfly.1 | sed -n '/^.SH COMMANDS/,/^.SH EXIT/p' | sed -n '/^\.TP/{n;s/^\.BR* //;s/"//g;s/  */ /g;p}' >"$work/headings"
wanted=()
for command in $commands; do # "journal dump" and the like instead of "journal"
  mapfile -t more < <(mayfly "$command" --help | sed -n '/^Subcommands:/,$s/^  \([a-z-][a-z-]*\) .*/\1/p')
  ((${#more[@]} > 0)) || wanted+=("$command")
  for one in "${more[@]}"; do wanted+=("$command $one"); done
done
[[ " ${wanted[*]} " == *" journal dump journal verify journal stat journal clear "* ]] || e2e_fail "commands: ${wanted[*]}"
for command in "${wanted[@]}"; do
  read -ra words <<<"$command"
  # The paragraph's heading names exactly the options of the command.
  heading=$(grep -E -e "^$command( |$)" -e "^[a-z-]+ \(or $command \)" "$work/headings")
  [[ $(wc -l <<<"$heading") == 1 && -n $heading ]] || e2e_fail "mayfly(1) has not one paragraph on $command: $heading"
  same "$command" "$(mayfly "${words[@]}" --help | sed -n '/^Options:/,/^$/p' | awk '/^  -/ { print $1 }' | options | grep -vx -e --help)" \
    "$(options <<<"$heading")"
done
[[ $(wc -l <"$work/headings") == "$((${#wanted[@]} - 1))" ]] || e2e_fail "mayfly(1) has commands that mayfly has not"
same "options of all" "$(mayfly --help | sed -n '/^Options:/,/^$/p' | awk '/^  -/ { print $1 }' | options)" \
  "$(plain mayfly.1 | sed -n '/^.SH OPTIONS/,/^.SH COMMANDS/p' | options)"

echo "--- mayflyd(1)"
same mayflyd "$(mayflyd --help | sed -n '/^Options:/,/^The end/p' | awk '/^  -/ { print $1 }' | options)" \
  "$(plain mayflyd.1 | sed -n '/^.SH OPTIONS/,/^.SH SIGNALS/p' | grep '^\.B' | options)"

echo "--- mayfly(3)"
same "the C interface" \
  "$(sed 's|^ \*.*||; s|/\*.*||' "$MAYFLY_SOURCE_DIR/include/mayfly/mayfly.h" | grep -oE '\bmayfly_[a-z0-9_]+\(' | tr -d '(' | sort -u)" \
  "$(plain mayfly.3 | grep -oE '^\.BR mayfly_[a-z0-9_]+ \(\)' | awk '{ print $2 }' | sort -u)"

if command -v man >/dev/null && command -v groff >/dev/null; then
  echo "--- as man shows them"
  for page in "$share"/man/*; do
    LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>"$work/warnings" >/dev/null
    [[ ! -s $work/warnings ]] || e2e_fail "$page: $(cat "$work/warnings")"
  done
fi

echo "--- completion"
complete_line() { # WORD...: the completions of the last word
  COMP_WORDS=(mayfly "$@") COMP_CWORD=$# COMPREPLY=()
  _mayfly
  printf '%s\n' "${COMPREPLY[@]}" | sort | xargs
}
. "$share/completions/mayfly"
[[ $(complete_line st) == "stage-in stage-out stat status stop" ]] || e2e_fail "st: $(complete_line st)"
[[ $(complete_line fl) == flush ]] || e2e_fail "fl: $(complete_line fl)"
[[ $(complete_line --s) == --session ]] || e2e_fail "--s: $(complete_line --s)"
[[ $(complete_line --session x stop --) == "--budget --flush-only --help --json --keep --no-flush" ]] || e2e_fail "stop: $(complete_line stop --)"
[[ $(complete_line journal "") == *clear*dump*stat*verify* ]] || e2e_fail "journal: $(complete_line journal "")"
[[ $(complete_line journal d) == dump ]] || e2e_fail "journal d: $(complete_line journal d)"
[[ $(complete_line journal dump --) == "--from --help --json --shard --to" ]] || e2e_fail "journal dump: $(complete_line journal dump --)"
[[ -z $(complete_line journal dump st) && -z $(complete_line stat st) ]] || e2e_fail "files are not commands"
[[ -z $(complete_line run -- --) ]] || e2e_fail "a program's options are not ours"
echo "all as expected"
