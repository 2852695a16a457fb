# Ends all processes of a runtime when it is gone, for any cause: stdin ends with its last holder.
# $1 is the prefix of these processes' markers.
trap '' HUP INT QUIT TERM PIPE
groups=
while IFS= read -r line; do
  case $line in
    +*) groups="$groups ${line#+}" ;;
    -*)
      others=
      for group in $groups; do
        [ "$group" = "${line#-}" ] || others="$others $group"
      done
      groups=$others
      ;;
  esac
  echo "$line"
done

# Processes that left their group have the marker in their environment. Only Linux shows it.
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

# Sleeps 0.1 s, or 1 s if the shell has no fractions.
tick() {
  sleep 0.1 || { sleep 1; ticks=$((ticks + 9)); }
}

signal "$1" TERM
ticks=0
while any_left "$1" && [ "$ticks" -lt 10 ]; do tick; ticks=$((ticks + 1)); done
# During exec a process has no marker for a moment, so two looks must find nothing.
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
