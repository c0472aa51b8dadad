# BIND with three views and a client in none of them.
need named
versions=$(named -v)
lan switch
attach switch dns 10.50.0.53/8
attach switch clients 10.50.1.10/8 10.50.2.10/8 10.50.3.10/8 10.50.9.9/8
serve dns named -g -n 1 -c named.conf
ready dns 10.50.0.53
asking dig.tsv
capture dns server.pcap
for client in 10.50.1.10 10.50.2.10 10.50.3.10 10.50.9.9; do
    ask clients $client 10.50.0.53 udp www.corp.example. A
    ask clients $client 10.50.0.53 udp secret.corp.example. A +nocookie
    ask clients $client 10.50.0.53 udp www.elsewhere.example. A
    ask clients $client 10.50.0.53 udp www.elsewhere.example. A +norecurse +noedns
    ask clients $client 10.50.0.53 tcp www.corp.example. AAAA
    ask clients $client 10.50.0.53 udp version.bind. TXT -c CH
done
for opcode in IQUERY STATUS NOTIFY UPDATE; do
    ask clients 10.50.9.9 10.50.0.53 udp corp.example. SOA +opcode=$opcode
done
stop_captures
keep_log dns server.log 'denied|query failed|refused'
