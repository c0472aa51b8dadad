# Health checks: RD=0, from an address that is not listed, and by connection only.
need unbound
versions=$(unbound -V | head -1)
lan switch
attach switch dns 10.80.0.53/8
attach switch balancer 10.80.0.5/8
attach switch second 10.81.0.5/8
attach switch clients 10.80.1.10/8
serve dns unbound -d -p -c unbound.conf
listens dns 53
asking dig.tsv
printf 'host\tserver\tconnected\n' >"$into/connects.tsv"
connect() {
    on "$1" timeout 2 bash -c "exec 3<>/dev/tcp/10.80.0.53/53 && sleep 0.05 && exec 3>&-" && printf '%s\t%s\tyes\n' "$2" 10.80.0.53 >>"$into/connects.tsv"
}
capture dns server.pcap
for number in $(seq 8); do
    ask balancer 10.80.0.5 10.80.0.53 udp . NS +norecurse
    ask second 10.81.0.5 10.80.0.53 udp health.example. A +noedns
    connect balancer 10.80.0.5
    connect second 10.81.0.5
    ask clients 10.80.1.10 10.80.0.53 udp www.example. A
done
ask balancer 10.80.0.5 10.80.0.53 tcp . SOA +norecurse
ask second 10.81.0.5 10.80.0.53 tcp health.example. A
ask clients 10.80.1.10 10.80.0.53 tcp www.example. A
stop_captures
keep_log dns server.log 'refused query'
