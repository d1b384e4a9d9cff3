# Installs PostgreSQL's, Redis' and Prometheus' programs on Debian and Ubuntu, as root. Their packages would also create a cluster and
# start services: that is prevented here, and what prevents it is taken away again at the end.
# Arguments: what to install, `postgresql`, `redis`, `prometheus`, `prometheus-alertmanager`, `etcd-server` and `python3-pip`.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
exec </dev/null

policy=/usr/sbin/policy-rc.d
drop_in=/etc/postgresql-common/createcluster.d/dbopt-setup.conf
mark='Written by the setup command of dbopt; it is removed when that ends.'

die() {
    echo "$*" >&2
    exit 1
}

# One at a time: what one run forbids, another would allow at its end.
exec 9</etc/apt && flock 9

log=$(mktemp)
restore() {
    rm -f "$log" "$drop_in"
    if grep -qs "$mark" "$policy"; then rm -f "$policy"; fi
}
trap restore EXIT
trap 'exit 130' INT TERM HUP

forbid_starting() {
    if [ -e "$policy" ] && ! grep -q "$mark" "$policy"; then
        # The machine's own rule stays; it has to forbid the same.
        for service in postgresql redis-server prometheus prometheus-alertmanager etcd; do
            answer=0
            "$policy" "$service" start >/dev/null 2>&1 || answer=$?
            [ "$answer" -eq 101 ] || die "$policy would let $service start"
        done
        return
    fi
    printf '#!/bin/sh\n# %s\nexit 101\n' "$mark" >"$policy"
    chmod 755 "$policy"
}

forbid_main_cluster() {
    mkdir -p "${drop_in%/*}"
    printf '# %s\ncreate_main_cluster = false\n' "$mark" >"$drop_in"
}

exists() {
    apt-cache show --no-all-versions "$1" >/dev/null 2>&1
}

# Sets `packages`, by what the package lists offer; fails when they are empty or do not know it.
choose() {
    packages=
    for wanted in "$@"; do
        case $wanted in
        postgresql)
            # The metapackage knows the release's version; itself it would follow to the next one on an upgrade.
            server=$(apt-cache depends postgresql 2>/dev/null |
                sed -n 's/^ *|*Depends: \(postgresql-[0-9][0-9]*\)$/\1/p' | head -n 1)
            [ -n "$server" ] || return 1
            packages="$packages $server"
            ;;
        redis)
            if exists redis-server; then
                packages="$packages redis-server"
            elif exists valkey-server; then
                packages="$packages valkey-server"
            else
                return 1
            fi
            ;;
        prometheus | prometheus-alertmanager | etcd-server | python3-pip)
            exists "$wanted" || return 1
            packages="$packages $wanted"
            ;;
        *) die "$wanted is not known here" ;;
        esac
    done
}

update() {
    echo 'apt-get update'
    apt-get update -qq -o DPkg::Lock::Timeout=300
}

install() {
    echo "apt-get install$packages"
    # shellcheck disable=SC2086 # the packages are separate words
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-confold $packages >"$log" 2>&1
}

forbid_starting
forbid_main_cluster
choose "$@" || { update && choose "$@"; } || die "the package lists do not offer all of $*"
# Old lists name files that are no longer there: a second try with new ones.
install || { update && choose "$@" && install; } || {
    tail -n 30 "$log" >&2
    die 'apt-get install failed'
}
# A new package's service would start with the next boot.
for service in redis-server valkey-server prometheus prometheus-alertmanager etcd; do
    package=$service
    [ "$service" != etcd ] || package=etcd-server
    case " $packages " in *" $package "*) update-rc.d "$service" disable >/dev/null 2>&1 || true ;; esac
done
