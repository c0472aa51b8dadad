# Dynamic updates and notifications, taken and refused.
need named nsd nsupdate
versions="$(named -v)
$(nsd -v 2>&1 | head -1)"
lan switch
attach switch named 10.95.0.11/8
attach switch nsd 10.95.0.12/8
attach switch hosts 10.95.1.10/8 10.95.1.11/8
serve nsd nsd -d -c nsd.conf
ready nsd 10.95.0.12
serve named named -g -n 1 -c named.conf
ready named 10.95.0.11
sleep 1
asking dig.tsv
capture named named.pcap
capture nsd nsd.pcap
key=hmac-sha256:update.example:bm90IGEgc2VjcmV0LCBhIHRlc3Qga2V5IG9ubHkhISE=
for client in 10.95.1.10 10.95.1.11; do
    number=${client##*.}
    ask hosts $client 10.95.0.11 udp ns.dynamic.example. A
    update hosts $client 10.95.0.11 udp dynamic.example "host$number.dynamic.example 300 A $client"
    update hosts $client 10.95.0.11 udp fixed.example "host$number.fixed.example 300 A $client"
        update hosts $client 10.95.0.11 tcp dynamic.example "host$number.dynamic.example 300 A $client"
    update hosts $client 10.95.0.11 udp dynamic.example "host$number.dynamic.example 300 A $client" -y $key
    ask hosts $client 10.95.0.11 udp copy.example. SOA +opcode=NOTIFY
    ask hosts $client 10.95.0.11 udp fixed.example. SOA +opcode=NOTIFY
    ask hosts $client 10.95.0.12 udp fixed.example. SOA +opcode=NOTIFY
    ask hosts $client 10.95.0.12 udp copy.example. SOA +opcode=NOTIFY +noedns
    update hosts $client 10.95.0.12 udp fixed.example "host$number.fixed.example 300 A $client"
    ask hosts $client 10.95.0.12 udp ns.fixed.example. A
done
stop_captures
keep_log named server.log 'denied|refused notify|updating zone|received notify'
# nsupdate cannot say what it got over TCP, the server can.
counted_log server.log "update '.*' denied" server.log named.pcap
