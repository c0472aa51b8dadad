# dnsdist in front of three servers, two of which refuse the balancer, health checks included.
need dnsdist unbound named
versions="$(dnsdist --version 2>/dev/null | head -1)
$(unbound -V | head -1)
$(named -v)"
lan switch
attach switch balancer 10.60.0.5/8
attach switch first 10.61.0.11/8
attach switch second 10.61.0.12/8
attach switch third 10.61.0.13/8
attach switch clients 10.62.1.10/8 10.62.2.20/8
serve first unbound -d -p -c unbound-first.conf
serve second unbound -d -p -c unbound-second.conf
serve third named -g -n 1 -c named.conf
for server in first second third; do listens $server 53; done
ready third 10.61.0.13
asking dig.tsv
for server in first second third; do capture $server $server.pcap; done
capture balancer balancer.pcap
serve balancer dnsdist --supervised --disable-syslog -C dnsdist.conf
listens balancer 53
sleep 1.5
for number in 1 2 3 4 5 6; do
    ask clients 10.62.1.10 10.60.0.5 udp www.example. A
    ask clients 10.62.2.20 10.60.0.5 udp www.example. AAAA +noedns
    ask clients 10.62.1.10 10.60.0.5 tcp www.example. A
done
# The balancer ends before the captures, so that no health check is cut in the middle.
kill "$server_pid" && wait "$server_pid"
stop_captures
keep_log first first.log 'info: 10|refused query'
keep_log second second.log 'info: 10|refused query'
keep_log third third.log "query '(www|health).* denied"
# The servers' lines do not tell UDP from TCP. What dig asked over TCP is handed on over TCP, and only the third refuses it.
number=11
for server in first second third; do
    address=10.61.0.$number
    number=$((number + 1))
    refused=$(grep -cE 'refused query|denied' "$into/$server.log")
    all=$(($(grep -c ' IN$' "$into/$server.log") + refused))
    tcp=0 && tcp_refused=0
    [ $server != first ] || tcp=$(awk -F '\t' '$4 == "tcp" && $9 == "NOERROR"' "$into/dig.tsv" | wc -l)
    [ $server != third ] || { tcp=$(awk -F '\t' '$4 == "tcp" && $9 == "REFUSED"' "$into/dig.tsv" | wc -l) && tcp_refused=$tcp; }
    counted 10.60.0.5 $address udp $((all - tcp)) $((refused - tcp_refused)) 0 "$server.log" $server.pcap balancer.pcap
    [ "$tcp" = 0 ] || counted 10.60.0.5 $address tcp "$tcp" "$tcp_refused" 0 "$server.log, dig.tsv" $server.pcap balancer.pcap
done
