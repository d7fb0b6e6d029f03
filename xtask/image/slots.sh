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

sum_of() { printf '%s' "$1" | sha256sum | cut -c 1-32; }

# Reads the copy at the given block of 4096 bytes into $line; fails where it is not sound.
env_copy() {
	line=$(dd if=$ENV bs=4096 skip="$1" count=1 2>/dev/null | head -c 128 | tr -d '\0')
	[ "$(sum_of "${line% sum=*}")" = "${line##* sum=}" ]
}

# Sets seq, active, tries and good.
env_read() {
	seq=0 active=a tries=0 good=a place=1
	for copy in 0 1; do
		env_copy $copy || continue
		number=${line#seq=}
		number=${number%% *}
		[ "$number" -gt "$seq" ] || continue
		seq=$number place=$copy
		rest=${line#* active=} && active=${rest%% *}
		rest=${line#* tries=} && tries=${rest%% *}
		rest=${line#* good=} && good=${rest%% *}
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
