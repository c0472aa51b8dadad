# Three servers that deny by silence.
need unbound named pdns_recursor
versions="$(unbound -V | head -1)
$(named -v)
$(pdns_recursor --version 2>&1 | head -1 | sed 's/^.*PowerDNS/PowerDNS/')"
lan switch
attach switch unbound 10.90.0.11/8
attach switch named 10.90.0.12/8
attach switch recursor 10.90.0.13/8
attach switch clients 10.90.1.10/8 10.90.2.10/8
serve unbound unbound -d -p -c unbound.conf
serve named named -g -n 1 -c named.conf
serve recursor pdns_recursor --config-dir=. --config-name=
ready unbound 10.90.0.11
ready named 10.90.0.12
ready recursor 10.90.0.13
asking dig.tsv
for server in unbound named recursor; do capture $server $server.pcap; done
for server in 10.90.0.11 10.90.0.12 10.90.0.13; do
    for number in 1 2 3; do
        ask clients 10.90.1.10 $server udp www.example. A
        WAIT=1 together clients 10.90.2.10 $server udp www.example. A
        ask clients 10.90.1.10 $server udp www.example. AAAA
        all_asked
    done
    ask clients 10.90.1.10 $server tcp www.example. A
    ask clients 10.90.2.10 $server tcp www.example. A
    ask clients 10.90.1.10 $server udp www.example. A
done
# A query has waited its whole time only if the capture goes on for longer: time is the capture's.
sleep 5.2
for server in 10.90.0.11 10.90.0.12 10.90.0.13; do ask clients 10.90.1.10 $server udp www.example. A; done
stop_captures
keep_log unbound unbound.log 'dropped query|denied|refused'
keep_log recursor recursor.log 'rom="?10.90.2|10.90.2'
