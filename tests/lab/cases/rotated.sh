# One recording, whole, cut by frames, and rotated by tcpdump itself.
need unbound dnsperf editcap
versions=$(unbound -V | head -1)
lan switch
attach switch dns 10.99.0.53/8
attach switch clients 10.99.1.10/8 10.99.1.11/8 10.99.2.10/8
serve dns unbound -d -p -c unbound.conf
listens dns 53
asking dig.tsv
# Begin early in a second: tcpdump turns when it sees a packet a second after the last turn.
capture dns whole.pcap
capture dns turn%s.pcap -G 1
for round in 1 2 3; do
    together clients 10.99.1.10 10.99.0.53 udp www.example. A
    together clients 10.99.2.10 10.99.0.53 udp www.example. A
    together clients 10.99.2.10 10.99.0.53 udp www.example. A +noedns
    together clients 10.99.2.10 10.99.0.53 tcp www.example. A
    together clients 10.99.1.10 10.99.0.53 tcp www.blocked.example. A
    all_asked
    sleep 0.5
done
for number in $(seq 12); do
    echo "www.example A"
    echo "n$number.blocked.example A"
done >"$work/questions"
on clients timeout 60 dnsperf -m tcp -s 10.99.0.53 -a 10.99.1.11 -d "$work/questions" -n 1 -c 1 -T 1 -q 8 -Q 12 >"$work/dnsperf" 2>&1
stop_captures
(
    cd "$into" || exit
    # Names without times, so that a new recording replaces the old one.
    mkdir pieces && editcap -c 20 whole.pcap pieces/part.pcap && number=0
    for file in pieces/part_*; do mv "$file" "$(printf part-%02d.pcap $number)" && number=$((number + 1)); done
    rmdir pieces && number=0
    for file in turn[0-9]*; do mv "$file" "$(printf turn-%02d.pcap $number)" && number=$((number + 1)); done
    ls part-* >parts.set && ls turn-* >turns.set
)
sent=$(awk '/Queries sent:/ { print $3 }' "$work/dnsperf")
refused=$(grep -oE 'REFUSED [0-9]+' "$work/dnsperf" | awk '{ print $2 }')
counted 10.99.1.11 10.99.0.53 tcp "$sent" "$refused" "$(awk '/Queries lost:/ { print $3 }' "$work/dnsperf")" \
    dnsperf whole.pcap parts.set turns.set
