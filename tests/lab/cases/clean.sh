# Nothing is wrong: all listed networks ask and are answered.
need unbound
versions=$(unbound -V | head -1)
lan switch
attach switch dns 10.20.30.40/8 2001:db8:20:30::40/48
attach switch office 10.20.1.7/8 10.20.1.8/8 2001:db8:20:1::7/48
attach switch branch 10.22.4.4/8
serve dns unbound -d -p -c unbound.conf
listens dns 53
asking dig.tsv
capture dns server.pcap
capture office client.pcap -i eth0
office() { SEEN="server.pcap client.pcap" ask office "$@"; }
for client in 10.20.1.7 10.20.1.8; do
    office $client 10.20.30.40 udp www.example.com. A
    office $client 10.20.30.40 udp www.example.com. AAAA +noedns
    office $client 10.20.30.40 udp missing.example.com. A
    office $client 10.20.30.40 tcp mail.example.com. MX
done
office 10.20.1.8 10.20.30.40 udp 7.1.20.10.in-addr.arpa. PTR
for type in A AAAA HTTPS; do office 2001:db8:20:1::7 2001:db8:20:30::40 udp www.example.com. $type; done
office 2001:db8:20:1::7 2001:db8:20:30::40 tcp www.example.com. A
for number in 1 2 3 4 5 6; do
    SEEN=server.pcap together branch 10.22.4.4 10.20.30.40 udp www.example.com. A
    SEEN=server.pcap together branch 10.22.4.4 10.20.30.40 tcp www.example.com. AAAA
done
all_asked
