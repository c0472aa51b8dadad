# dnsdist with PROXY headers in front of one server that expects them and three that do not.
need dnsdist unbound named nsd
versions="$(dnsdist --version 2>/dev/null | head -1)
$(unbound -V | head -1)
$(named -v)
$(nsd -v 2>&1 | head -1)"
# tshark 4.0 takes the header for the message.
no_truth="aware.pcap unbound.pcap named.pcap nsd.pcap balancer.pcap"
lan switch
attach switch balancer 10.70.0.5/8
attach switch aware 10.71.0.11/8
attach switch unbound 10.71.0.12/8
attach switch named 10.71.0.13/8
attach switch nsd 10.71.0.14/8
attach switch clients 10.72.1.10/8 10.72.2.20/8
serve aware unbound -d -p -c unbound-aware.conf
serve unbound unbound -d -p -c unbound-unbound.conf
serve named named -g -n 1 -c named.conf
serve nsd nsd -d -c nsd.conf
for server in aware unbound named nsd; do listens $server 53; done
asking dig.tsv
for server in aware unbound named nsd; do capture $server $server.pcap; done
capture clients clients.pcap -i eth0
capture balancer balancer.pcap
serve balancer dnsdist --supervised --disable-syslog -C dnsdist.conf
listens balancer 53
for server in aware unbound named nsd; do
    WAIT=3 ask clients 10.72.1.10 10.70.0.5 udp www.$server.example. A
    WAIT=3 ask clients 10.72.2.20 10.70.0.5 udp www.$server.example. AAAA +noedns
    WAIT=3 ask clients 10.72.1.10 10.70.0.5 tcp www.$server.example. A
done
kill "$server_pid" && wait "$server_pid"
stop_captures
