# A forwarder is refused by its upstream and hands the refusal on.
need dnsmasq unbound
versions="$(dnsmasq --version | head -1)
$(unbound -V | head -1)"
lan switch
attach switch forwarder 10.30.0.53/8
attach switch upstream 10.40.0.53/8
attach switch floor 10.30.1.10/8 10.30.1.11/8
attach switch office 10.20.1.7/8
serve upstream unbound -d -p -c unbound.conf
listens upstream 53
serve forwarder dnsmasq -C dnsmasq.conf
listens forwarder 53
asking dig.tsv
capture forwarder forwarder.pcap
capture upstream upstream.pcap
for client in 10.30.1.10 10.30.1.11; do
    ask floor $client 10.30.0.53 udp www.example.com. A
    ask floor $client 10.30.0.53 udp www.example.com. AAAA +noedns
    ask floor $client 10.30.0.53 udp printer.example. A
    ask floor $client 10.30.0.53 udp other.example. MX +noedns
done
# Several in flight at once, so that the legs overlap.
for name in a b c d e f; do
    together floor 10.30.1.10 10.30.0.53 udp $name.example.net. A
    together floor 10.30.1.11 10.30.0.53 udp $name.example.org. A
done
all_asked
ask floor 10.30.1.10 10.30.0.53 tcp www.example.com. A
ask floor 10.30.1.11 10.30.0.53 tcp printer.example. A
# The same question to the upstream from a source it knows.
ask office 10.20.1.7 10.40.0.53 udp www.example.com. A
stop_captures
keep_log upstream upstream.log 'refused query|info: .* IN( |$)'
keep_log forwarder forwarder.log 'query\[|forwarded|reply|config|error'
# dnsmasq says once for each query it passes on; Unbound once for each it refuses, without the transport: the TCP one is known.
all=$(grep -c 'refused query from 10.30.0.53' "$into/upstream.log")
forwarded=$(grep -c ' forwarded ' "$into/forwarder.log")
[ "$all" = "$forwarded" ] || fail "$case: Unbound refused $all, dnsmasq forwarded $forwarded"
counted 10.30.0.53 10.40.0.53 tcp 1 1 0 "the one TCP question" forwarder.pcap upstream.pcap
counted 10.30.0.53 10.40.0.53 udp $((all - 1)) $((all - 1)) 0 "Unbound and dnsmasq logs" forwarder.pcap upstream.pcap
