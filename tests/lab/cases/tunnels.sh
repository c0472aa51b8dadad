# One conversation through each of many encapsulations, recorded on the server's wire.
#
#   clients (a tunnel's device for each kind) -- Ethernet -- dns
need unbound python3
versions="$(unbound -V | head -1)
$(python3 --version)"
host clients dns
wire clients under dns under
address clients under 2001:db8:ff::1/64
address dns under 2001:db8:ff::2/64
address dns lo 10.110.0.53/32 2001:db8:110::53/128
kinds=(gre gre-keyed erspan gre-udp ipip 6in4 4in6 etherip vxlan geneve gtp-u mpls-udp l2tp)
number=0
for kind in "${kinds[@]}"; do
    number=$((number + 1))
    # Of its own, for a raw socket hears every packet of its protocol that comes to its address.
    ends=(172.16.$number.1 172.16.$number.2)
    address clients under 172.16.$number.1/24 && address dns under 172.16.$number.2/24
    [ $kind = 4in6 ] && ends=(2001:db8:ff::1 2001:db8:ff::2)
    for side in "clients ${ends[0]} ${ends[1]}" "dns ${ends[1]} ${ends[0]}"; do
        read -r name own other <<<"$side"
        on "$name" timeout 300 "$here/tunnel" $kind "$own" "$other" t$number &
        lab_servers+=($!)
        for try in $(seq 100); do ip -n "$lab_prefix-$name" link show t$number >/dev/null 2>&1 && break; sleep 0.05; done
        ip -n "$lab_prefix-$name" link set t$number mtu 1300 up
    done
    address clients t$number 10.110.$number.10/32 10.111.$number.20/32
    [ $kind = ipip ] || [ $kind = 4in6 ] || address clients t$number 2001:db8:110:$number::10/128 2001:db8:111:$number::20/128
    # Each client's questions leave by its own tunnel, and their answers come back through it.
    for family in "-4 10.110.$number.0/24" "-4 10.111.$number.0/24" "-6 2001:db8:110:$number::/64" "-6 2001:db8:111:$number::/64"; do
        read -r version network <<<"$family"
        ip -n "$lab_prefix-clients" $version rule add from "$network" lookup $((100 + number))
        ip -n "$lab_prefix-clients" $version route add default dev t$number table $((100 + number)) 2>/dev/null
        ip -n "$lab_prefix-dns" $version route add "$network" dev t$number
    done
done
# 6in4 carries IPv6 only, the tunnels of IPv4 packets nothing else.
serve dns unbound -d -p -c unbound.conf
listens dns 53
asking dig.tsv
number=0
for kind in "${kinds[@]}"; do
    number=$((number + 1))
    capture dns $kind.pcap -i under
    export SEEN=$kind.pcap
    for client in 10.110.$number.10 10.111.$number.20; do
        [ $kind = 6in4 ] && continue
        ask clients $client 10.110.0.53 udp www.example. A
        ask clients $client 10.110.0.53 udp missing.example. AAAA +noedns
        ask clients $client 10.110.0.53 tcp www.example. TXT
    done
    for client in 2001:db8:110:$number::10 2001:db8:111:$number::20; do
        case $kind in ipip | 4in6) continue ;; esac
        ask clients $client 2001:db8:110::53 udp www.example. A
        ask clients $client 2001:db8:110::53 tcp www.example. A
    done
    unset SEEN
    stop_captures
done
keep_log dns unbound.log ' (info: [0-9a-f.:]+ (www|missing)\.example\. |refused)'
