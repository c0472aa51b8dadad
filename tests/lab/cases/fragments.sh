# Answers larger than the wire's packets, over both IP versions, seen on the wire and three times on the switch.
need unbound
versions="$(unbound -V | head -1)"
lan switch
attach switch dns 10.80.0.53/16 2001:db8:80::53/48
attach switch clients 10.80.1.10/16 10.80.2.20/16 2001:db8:80:1::10/48 2001:db8:80:2::20/48
serve dns unbound -d -p -c unbound.conf
listens dns 53
asking dig.tsv
capture dns server.pcap -i eth0
capture dns cooked.pcap
capture switch switch.pcap
for client in 10.80.1.10 10.80.2.20; do
    ask clients $client 10.80.0.53 udp large.example. TXT +bufsize=4096 +ignore
    ask clients $client 10.80.0.53 udp www.example. A
    ask clients $client 10.80.0.53 tcp large.example. TXT
done
for client in 2001:db8:80:1::10 2001:db8:80:2::20; do
    ask clients $client 2001:db8:80::53 udp large.example. TXT +bufsize=4096 +ignore
    ask clients $client 2001:db8:80::53 udp www.example. A
done
stop_captures
