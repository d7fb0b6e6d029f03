# Which of the two system slots starts. Sourced by the initramfs and by /sbin/slot; the gateway's
# src/gateway/update/env.rs reads and writes the same line, and a test compares the two.
#
# Two copies of one line lie on the partition `env`, at 0 and at 4096, each with a checksum and a
# number that grows. The newer sound one counts, the other is written next: a power cut in the
# middle of a write leaves the line before it.
#   seq=7 active=b tries=2 good=a sum=0123456789abcdef0123456789abcdef
# `tries` counts down with every start while `active` is not confirmed; at zero `good` starts again.

ENV=/dev/vda2
export PATH=/bin:/sbin:/usr/bin:/usr/sbin

sum_of() { printf '%.32s' "$(printf '%s' "$1" | sha256sum)"; }

# Prints the copy at the given block of 4096 bytes. Zeroes follow, which a shell leaves out.
env_copy() { dd if=$ENV bs=128 skip=$(($1 * 32)) count=1 2>/dev/null; }

# Sets $number to that of a copy, sound or not: 0 where there is none.
env_number() {
	number=${1#seq=}
	number=${number%% *}
	case $number in '' | *[!0-9]* | ??????????*) number=0 ;; esac
}

# Sets seq, active, tries and good. The sum of the newer copy is enough where it is right.
env_read() {
	seq=0 active=a tries=0 good=a place=1
	first=$(env_copy 0) second=$(env_copy 1)
	env_number "$first"
	copies="0 1" of_first=$number
	env_number "$second"
	[ "$number" -le "$of_first" ] || copies="1 0"
	for copy in $copies; do
		case $copy in 0) line=$first ;; *) line=$second ;; esac
		[ "$(sum_of "${line% sum=*}")" = "${line##* sum=}" ] || continue
		env_number "$line"
		seq=$number place=$copy
		rest=${line#* active=} && active=${rest%% *}
		rest=${line#* tries=} && tries=${rest%% *}
		rest=${line#* good=} && good=${rest%% *}
		return
	done
}

# Sets $slot to the one that starts now, and counts a start of one that is not confirmed; sets $left
# to one that had all its starts.
env_choose() {
	env_read
	slot=$active left=
	[ "$active" != "$good" ] || return 0
	if [ "$tries" -gt 0 ]; then
		tries=$((tries - 1))
	else
		left=$active active=$good slot=$good
	fi
	env_write
}

# Writes active, tries and good into the place of the older copy.
env_write() {
	seq=$((seq + 1)) place=$((1 - place))
	text="seq=$seq active=$active tries=$tries good=$good"
	printf '%s sum=%s' "$text" "$(sum_of "$text")" |
		dd of=$ENV bs=4096 seek=$place conv=sync,notrunc,fsync 2>/dev/null
}
