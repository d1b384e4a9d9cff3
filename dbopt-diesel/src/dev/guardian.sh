# Outlives the owner of a development cluster and ends everything the owner started, however the owner ended.
# $1: the cluster's folder, without links in its path; $2: `remove` the folder, or `keep` it and shut down in order.
#
# Standard input is a pipe whose write end only the owner holds. Standard output is the cluster's lock file: the lock
# is free when both the owner and this script have gone. Nothing may be written to it.
# A process belongs to the cluster when its standard input (or error) is a file of the cluster's folder: that is
# inherited by every descendant, survives the death of any parent, and no reused process number can fake it.

trap '' HUP INT TERM QUIT
dir=$1
# Everything below hangs on this name: a wrong one would match strangers.
case $dir in /?*) ;; *) exit 2 ;; esac
[ -f "$dir/lock" ] || exit 2

members() {
    if [ -e /proc/self/fd/0 ]; then
        ls -ln /proc/[0-9]*/fd/0 /proc/[0-9]*/fd/2 2>/dev/null | while IFS= read -r line; do
            case $line in
            *" -> $dir/"*) line=${line%%"/fd/"*} && echo "${line##*/}" ;;
            esac
        done
    else
        lsof -t -- "$dir"/.dbopt-mark "$dir"/*/.dbopt-mark 2>/dev/null
    fi
}

signal_members() {
    for pid in $(members); do
        kill -s "$1" "$pid" 2>/dev/null
    done
}

# Waits until nobody is left, at most $1 rounds.
await_nobody() {
    rounds=$1
    while [ -n "$(members)" ]; do
        rounds=$((rounds - 1))
        [ "$rounds" -gt 0 ] || return 1
        sleep 0.05
    done
}

# The servers themselves, without their children: $1 is the signal for PostgreSQL, $2 for Redis.
signal_servers() {
    living=" $(members | tr '\n' ' ') "
    for file in "$dir"/*/data/postmaster.pid "$dir"/redis/redis.pid; do
        [ -r "$file" ] && read -r pid <"$file" || continue
        case $living in *" $pid "*) ;; *) continue ;; esac
        case $file in */redis.pid) kill -s "$2" "$pid" ;; *) kill -s "$1" "$pid" ;; esac
    done 2>/dev/null
}

# What a killed postmaster leaves outside its folder: a small System V segment, of which a machine has 4096.
forget_segments() {
    for file in "$dir"/*/data/postmaster.pid "$dir"/*/data.unfinished/postmaster.pid; do
        [ -r "$file" ] || continue
        segment=$(sed -n '7s/^ *[0-9][0-9]*  *\([0-9][0-9]*\).*/\1/p' "$file")
        [ -z "$segment" ] || ipcrm -m "$segment"
        rm -f -- "$file"
    done 2>/dev/null >&2
}

while read -r _; do :; done

if [ "$2" = keep ]; then
    signal_members CONT
    signal_servers INT TERM
    await_nobody 200
fi
rounds=100
while [ -n "$(members)" ] && [ "$rounds" -gt 0 ]; do
    rounds=$((rounds - 1))
    signal_members KILL
    sleep 0.01
done
forget_segments
if [ "$2" = remove ]; then
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        rm -rf -- "$dir" 2>/dev/null
        [ -e "$dir" ] || break
        sleep 0.1
    done
fi
