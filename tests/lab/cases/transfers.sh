# AXFR and IXFR: allowed by address and by key, refused (BIND), not authorised (Knot DNS).
need named knotd
versions="$(named -v)
$(knotd -V)"
lan switch
attach switch named 10.45.0.53/8
attach switch knot 10.45.0.54/8
attach switch secondary 10.45.1.20/8 10.45.1.21/8
attach switch guest 10.45.66.6/8
{
    echo '$TTL 300'
    echo 'big.example. SOA ns.big.example. hostmaster.big.example. 7 3600 900 604800 300'
    echo 'big.example. NS ns.big.example.'
    echo 'ns.big.example. A 10.45.0.53'
    for number in $(seq 2000); do echo "host$number.big.example. A 10.46.$((number / 250)).$((number % 250))"; done
} >"$work/big.example.zone"
serve named true
cp "$work/big.example.zone" "$work/run-named/"
serve named named -g -n 1 -c named.conf
serve knot knotd -c knot.conf
ready named 10.45.0.53
ready knot 10.45.0.54
asking dig.tsv
key=hmac-sha256:transfer.example:bm90IGEgc2VjcmV0LCBhIHRlc3Qga2V5IG9ubHkhISE=
capture named named.pcap
capture knot knot.pcap
for server in 10.45.0.53 10.45.0.54; do
    for client in "secondary 10.45.1.20" "secondary 10.45.1.21" "guest 10.45.66.6"; do
        ask $client $server udp www.small.example. A
        ask $client $server tcp small.example. AXFR
        ask $client $server tcp small.example. IXFR=3
    done
done
ask secondary 10.45.1.20 10.45.0.53 tcp big.example. AXFR
ask secondary 10.45.1.20 10.45.0.53 udp big.example. IXFR=3 +notcp
ask secondary 10.45.1.20 10.45.0.53 tcp big.example. IXFR=3
ask guest 10.45.66.6 10.45.0.53 tcp big.example. AXFR
ask guest 10.45.66.6 10.45.0.53 udp big.example. IXFR=3 +notcp
ask guest 10.45.66.6 10.45.0.53 tcp big.example. AXFR -y $key
ask guest 10.45.66.6 10.45.0.53 tcp small.example. AXFR -y $key
stop_captures
keep_log named named.log 'transfer|XFR'
keep_log knot knot.log 'XFR|transfer'
counted_log named.log ' denied' 'named.log' named.pcap
