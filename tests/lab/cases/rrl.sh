# BIND's response rate limiting, for answers and for refusals.
need named
versions=$(named -v)
lan switch
attach switch dns 10.98.0.53/8
attach switch clients 10.98.1.10/8 10.98.2.10/8
serve dns named -g -n 1 -c named.conf
ready dns 10.98.0.53
asking dig.tsv
capture dns server.pcap
for number in $(seq 16); do
    WAIT=1 together clients 10.98.1.10 10.98.0.53 udp www.example. A +nocookie +ignore
    WAIT=1 together clients 10.98.2.10 10.98.0.53 udp www.example. A +nocookie +ignore
done
for number in 1 2 3 4; do
    together clients 10.98.1.10 10.98.0.53 tcp www.example. A
    together clients 10.98.2.10 10.98.0.53 tcp www.example. A
done
all_asked
# A query has waited its whole time only if the capture goes on for longer: time is the capture's.
sleep 5.2
ask clients 10.98.1.10 10.98.0.53 udp www.example. A +nocookie +ignore
stop_captures
keep_log dns server.log 'limit|denied'
