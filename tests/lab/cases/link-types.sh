# One conversation over Ethernet, a tun device and VXLAN, recorded in every link type that can be had here.
#
#   clients -- Ethernet -- router -- tun (raw IP, carried by socat) -- relay -- VXLAN -- dns
need unbound socat tcprewrite dumpcap
versions="$(unbound -V | head -1)
$(socat -V | sed -n 2p)
$(tcprewrite --version 2>&1 | head -1)"
host clients router relay dns
wire clients eth0 router eth0
wire router under relay under
wire relay far dns under
forwards router && forwards relay
address clients eth0 10.100.1.10/24 10.100.1.200/24 2001:db8:100:1::10/64 2001:db8:100:1:8000::10/64
address router eth0 10.100.1.1/24 2001:db8:100:1::1/64
address router under 192.0.2.1/30 && address relay under 192.0.2.2/30
for side in router:1:2 relay:2:1; do
    IFS=: read -r name own other <<<"$side"
    on "$name" timeout 300 socat "UDP4-DATAGRAM:192.0.2.$other:5000,bind=192.0.2.$own:5000" "TUN:10.100.2.$own/30,tun-name=tun0,iff-no-pi,iff-up" &
    lab_servers+=($!)
done
for name in router relay; do
    for try in $(seq 50); do ip -n "$lab_prefix-$name" link show tun0 >/dev/null 2>&1 && break; sleep 0.1; done
done
address router tun0 2001:db8:100:2::1/64 && address relay tun0 2001:db8:100:2::2/64
address relay far 192.0.2.5/30 && address dns under 192.0.2.6/30
for side in relay:far:6 dns:under:5; do
    IFS=: read -r name below other <<<"$side"
    ip -n "$lab_prefix-$name" link add vx0 type vxlan id 100 dstport 4789 dev "$below" remote "192.0.2.$other"
    ip -n "$lab_prefix-$name" link set vx0 up
done
address relay vx0 10.100.0.1/24 2001:db8:100::1/64 && address dns vx0 10.100.0.53/24 2001:db8:100::53/64
route clients default 10.100.1.1 && route clients default 2001:db8:100:1::1
route dns default 10.100.0.1 && route dns default 2001:db8:100::1
route router 10.100.0.0/24 10.100.2.2 && route router 2001:db8:100::/64 2001:db8:100:2::2
route relay 10.100.1.0/24 10.100.2.1 && route relay 2001:db8:100:1::/64 2001:db8:100:2::1
serve dns unbound -d -p -c unbound.conf
listens dns 53
asking dig.tsv
capture clients ethernet.pcap -i eth0
capture clients nanoseconds.pcap -i eth0 --time-stamp-precision=nano
capture clients cooked-v1.pcap -y LINUX_SLL
capture clients cooked-v2.pcap
capture router raw.pcap -i tun0
capture relay vxlan.pcap -i far
dump clients two-interfaces.pcapng -i eth0 -i lo
dump router mixed.pcapng -i eth0 -i tun0
for client in 10.100.1.10 10.100.1.200; do
    ask clients $client 10.100.0.53 udp www.example. A
    ask clients $client 10.100.0.53 udp missing.example. AAAA +noedns
    ask clients $client 10.100.0.53 tcp www.example. A
done
for client in 2001:db8:100:1::10 2001:db8:100:1:8000::10; do
    ask clients $client 2001:db8:100::53 udp www.example. A
    ask clients $client 2001:db8:100::53 tcp www.example. A
done
stop_captures
tcprewrite --enet-vlan=add --enet-vlan-tag=20 --enet-vlan-cfi=0 --enet-vlan-pri=0 -i "$into/ethernet.pcap" -o "$into/vlan.pcap" || fail "tcprewrite"
tcprewrite --enet-vlan=add --enet-vlan-proto=802.1ad --enet-vlan-tag=300 --enet-vlan-cfi=0 --enet-vlan-pri=0 -i "$into/vlan.pcap" -o "$into/qinq.pcap" ||
    fail "tcprewrite"
