# The second variant of the seed story with Unbound: 10.20.0.0/16 may ask, 10.21.0.0/16 may ask too, so only the translation is to blame; everybody else is refused.
need unbound nft conntrack
. "$here/cases/seed.inc"
versions=$(unbound -V | head -1)
seed_server() {
    serve dns unbound -d -p -c unbound.conf
    ready dns 10.20.30.40
    ready dns 2001:db8:20:30::40
}
seed
keep_log dns server.log "refused query|info: .* IN( |$)|denied"
