# Hundreds of messages in one TCP session, pipelined and out of order; and a slow, sequential one.
need unbound nsd dnsperf
versions="$(unbound -V | head -1)
$(dnsperf -h 2>&1 | grep -m1 -i version)"
lan switch
attach switch dns 10.47.0.53/8
attach switch world 10.48.0.53/8
attach switch client 10.47.1.10/8 10.47.1.11/8
serve world nsd -d -c nsd.conf
ready world 10.48.0.53
serve dns unbound -d -p -c unbound.conf
listens dns 53
nsd_counters world >/dev/null
for number in $(seq 125); do
    echo "n$number.world.example A"
    echo "www.local.example A"
    echo "n$number.blocked.example A"
    echo "www.local.example AAAA"
done >"$work/questions"
capture dns server.pcap
capture client pipelined.pcap -i eth0 host 10.47.1.10
capture client sequential.pcap -i eth0 host 10.47.1.11
on client timeout 60 dnsperf -m tcp -s 10.47.0.53 -a 10.47.1.10 -d "$work/questions" -n 1 -c 1 -T 1 -q 60 >"$into/dnsperf.log" 2>&1
for number in $(seq 20); do
    echo "m$number.world.example A"
    echo "m$number.blocked.example A"
    echo "www.local.example A"
done >"$work/batch"
on client timeout 60 dig -r @10.47.0.53 -b 10.47.1.11 +tcp +keepopen -f "$work/batch" >"$work/batch.log" 2>&1
stop_captures
sed -i -n '/Queries sent/,/Average packet/p' "$into/dnsperf.log"
sent=$(awk '/Queries sent:/ { print $3 }' "$into/dnsperf.log")
lost=$(awk '/Queries lost:/ { print $3 }' "$into/dnsperf.log")
refused=$(grep -oE 'REFUSED [0-9]+' "$into/dnsperf.log" | awk '{ print $2 }')
counted 10.47.1.10 10.47.0.53 tcp "$sent" "${refused:-0}" "$lost" dnsperf pipelined.pcap server.pcap
counted 10.47.1.11 10.47.0.53 tcp "$(grep -c 'status: ' "$work/batch.log")" "$(grep -c 'status: REFUSED' "$work/batch.log")" 0 \
    dig sequential.pcap server.pcap
counters=$(nsd_counters world)
counted 10.47.0.53 10.48.0.53 udp "$(awk -F = '$1 == "num.udp" { print $2 }' <<<"$counters")" 0 0 "NSD num.udp" server.pcap
