# Two nodes with one service address and different access lists; a route that turns from one to the other.
need named
versions=$(named -v)
host clients router relay node1 node2
wire clients eth0 router clients
wire node1 eth0 router near
wire relay eth0 router far
wire node2 eth0 relay node2
forwards router && forwards relay
address clients eth0 10.71.1.7/24 10.72.1.9/24
address router clients 10.71.1.1/24 10.72.1.1/24
address router near 10.70.1.1/30 && address node1 eth0 10.70.1.2/30
address router far 10.70.2.1/30 && address relay eth0 10.70.2.2/30
address relay node2 10.70.3.1/30 && address node2 eth0 10.70.3.2/30
address node1 lo 10.70.0.53/32 && address node2 lo 10.70.0.53/32
route clients default 10.71.1.1
route node1 default 10.70.1.1
route node2 default 10.70.3.1
route relay default 10.70.2.1
route router 10.70.0.53 10.70.1.2
route relay 10.70.0.53 10.70.3.2
serve node1 named -g -n 1 -c named-node1.conf
serve node2 named -g -n 1 -c named-node2.conf
ready node1 10.70.0.53
ready node2 10.70.0.53
asking dig.tsv
capture node1 node1.pcap
capture node2 node2.pcap
capture router router.pcap
everybody() {
    local client
    for client in 10.71.1.7 10.72.1.9; do
        SEEN="router.pcap $1.pcap" ask clients $client 10.70.0.53 udp www.example. A +nsid
        SEEN="router.pcap $1.pcap" ask clients $client 10.70.0.53 udp www.example. AAAA +nocookie
        SEEN="router.pcap $1.pcap" ask clients $client 10.70.0.53 udp id.server. TXT -c CH
        SEEN="router.pcap $1.pcap" ask clients $client 10.70.0.53 tcp www.example. A +nsid
    done
}
everybody node1
on router ip route replace 10.70.0.53 via 10.70.2.2
everybody node2
