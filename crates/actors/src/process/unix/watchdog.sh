# Ends all processes of a runtime when that is gone, however it went: then nobody holds the other end of stdin any more.
# $1 is how the marks of these processes begin.
trap '' HUP INT QUIT TERM PIPE
groups=
while IFS= read -r line; do
  case $line in
    +*) groups="$groups ${line#+}" ;;
    -*)
      kept=
      for group in $groups; do
        [ "$group" = "${line#-}" ] || kept="$kept $group"
      done
      groups=$kept
      ;;
  esac
  echo "$line"
done

# What left its group bears the mark in its environment. Only Linux shows that.
marked() {
  [ -r /proc/self/environ ] || return 0
  grep -lsF "MAINSTAY_PROCESS=$1" /proc/[0-9]*/environ | while IFS=/ read -r _ _ pid _; do echo "$pid"; done
}

signal() {
  for group in $groups; do kill -s "$2" -- "-$group"; done
  for pid in $(marked "$1"); do kill -s "$2" "$pid"; done
}

any_left() {
  for group in $groups; do
    if kill -s 0 -- "-$group"; then return 0; fi
  done
  [ -n "$(marked "$1")" ]
}

# Sleeps a tenth of a second, or a whole one where there are no tenths.
tick() {
  sleep 0.1 || { sleep 1; ticks=$((ticks + 9)); }
}

signal "$1" TERM
ticks=0
while any_left "$1" && [ "$ticks" -lt 10 ]; do tick; ticks=$((ticks + 1)); done
# What is becoming another program bears no mark for a moment: nothing is believed to be gone before it was not there twice.
ticks=0
misses=0
while [ "$ticks" -lt 50 ]; do
  if any_left "$1"; then
    misses=0
    signal "$1" KILL
  else
    misses=$((misses + 1))
    [ "$misses" -lt 2 ] || exit 0
  fi
  tick
  ticks=$((ticks + 1))
done
