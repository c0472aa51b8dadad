# The seed story with BIND: the offices meet the view that recurses, everybody else the view that does not.
need named nsd nft conntrack
. "$here/cases/seed.inc"
versions="$(named -v)
$(nsd -v 2>&1 | head -1)"
seed_server() {
    serve world nsd -d -c nsd.conf
    ready world 198.51.100.53
    serve dns named -g -n 1 -c named.conf
    ready dns 10.20.30.40
    ready dns 2001:db8:20:30::40
    nsd_counters world >/dev/null
}
# The recursive server is a client too: how often it asked the world, by NSD's own counters.
seed_recorded() {
    local udp tcp all
    all=$(nsd_counters world)
    udp=$(awk -F = '$1 == "num.udp" { print $2 }' <<<"$all")
    tcp=$(awk -F = '$1 == "num.tcp" { print $2 }' <<<"$all")
    [ "$udp" = 0 ] || counted 10.20.30.40 198.51.100.53 udp "$udp" 0 0 "NSD num.udp" "$@"
    [ "$tcp" = 0 ] || counted 10.20.30.40 198.51.100.53 tcp "$tcp" 0 0 "NSD num.tcp" "$@"
}
seed
keep_log dns server.log ': query: |query failed|denied'
