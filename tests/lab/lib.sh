# What every case is made of: hosts (network namespaces), wires (veth pairs), servers, captures and questions.
#
# A case is a file in cases/ that calls these functions; `record` sources it once for each case. Everything a case starts is
# bounded in time, remembered by process id and ended by `clean_up`, which `record` runs on exit, also after an error.
# All addresses live inside the namespaces: nothing leaves this machine.

lab_prefix="dnsrefused-$$"  # of every namespace's name, so that two recordings never meet
lab_hosts=()                # namespaces made so far
lab_servers=()              # process ids of servers and watchers
lab_captures=()             # "pid file log" of each running capture
lab_lines=()                # "pid file" of each running connection-tracking watcher
lab_asking=()              # process ids of questions asked in the background

say() { printf '%s\n' "record: $*" >&2; }
fail() { say "$*"; exit 1; }

# need PROGRAM...: a case that lacks a program is skipped with the reason, it does not fail.
need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || { say "$case: skipped, $program is not installed"; exit 77; }
    done
}

# --- hosts and wires ------------------------------------------------------------------------------------------------

# host NAME...: a namespace with loopback up and no autoconfigured IPv6 noise.
host() {
    local name
    for name in "$@"; do
        ip netns add "$lab_prefix-$name" || fail "cannot make the namespace $name (root is needed)"
        lab_hosts+=("$name")
        on "$name" sh -c 'for f in all default; do
            echo 0 >/proc/sys/net/ipv6/conf/$f/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/$f/accept_ra
            echo 0 >/proc/sys/net/ipv6/conf/$f/router_solicitations; done'
        ip -n "$lab_prefix-$name" link set lo up
    done
}

# on HOST COMMAND...: runs a command inside a host.
on() {
    local name=$1
    shift
    ip netns exec "$lab_prefix-$name" "$@"
}

# wire HOST INTERFACE HOST INTERFACE: a cable between two hosts.
wire() {
    ip -n "$lab_prefix-$1" link add name "$2" type veth peer name "$4" netns "$lab_prefix-$3"
    ip -n "$lab_prefix-$1" link set "$2" up
    ip -n "$lab_prefix-$3" link set "$4" up
}

# lan SWITCH: a host that is only a switch. attach SWITCH HOST ADDRESS/LEN...: plugs a new host into it, as `eth0`.
lan() {
    host "$1"
    ip -n "$lab_prefix-$1" link add br0 type bridge forward_delay 0
    ip -n "$lab_prefix-$1" link set br0 up
}
attach() {
    local lan=$1 name=$2
    shift 2
    host "$name"
    wire "$name" eth0 "$lan" "$name"
    ip -n "$lab_prefix-$lan" link set "$name" master br0
    address "$name" eth0 "$@"
}

# address HOST INTERFACE ADDRESS/LEN...
address() {
    local name=$1 interface=$2 one
    shift 2
    for one in "$@"; do
        case $one in
        *:*) ip -n "$lab_prefix-$name" addr add "$one" dev "$interface" nodad ;;
        *) ip -n "$lab_prefix-$name" addr add "$one" dev "$interface" ;;
        esac
    done
}

# route HOST DESTINATION GATEWAY
route() { ip -n "$lab_prefix-$1" route add "$2" via "$3"; }

# forwards HOST: makes it a router for both families.
forwards() {
    on "$1" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
}

# --- servers --------------------------------------------------------------------------------------------------------

# serve HOST COMMAND...: starts a server in its own copy of the case's files, so that configurations name files without a
# path. It may live for ten minutes at most. Its output is kept as $work/HOST.log (HOST.2.log and so on for later ones).
serve() {
    local name=$1 log number=1
    shift
    log=$work/$name.log
    while [ -e "$log" ]; do
        number=$((number + 1))
        log=$work/$name.$number.log
    done
    mkdir -p "$work/run-$name"
    cp -R "$into"/. "$work/run-$name/"
    (cd "$work/run-$name" && exec timeout 600 ip netns exec "$lab_prefix-$name" "$@") >"$log" 2>&1 &
    lab_servers+=($!)
    server_pid=$!
}

# ready HOST SERVER [TRANSPORT]: waits until something answers there; asked from the server's own host, before any capture.
ready() {
    local try
    for try in $(seq 100); do
        on "$1" dig +tries=1 +timeout=1 +qid=1 "@$2" ready.invalid. SOA >/dev/null 2>&1 && return
        sleep 0.1
    done
    cat "$work/$1"*.log >&2
    fail "$case: nothing answers at $2"
}

# listens HOST PORT [udp|tcp]: waits until a socket is bound; for servers that do not answer their own host.
listens() {
    local try
    for try in $(seq 100); do
        on "$1" sh -c "cat /proc/net/${3:-udp} /proc/net/${3:-udp}6" |
            grep -qi ":$(printf '%04X' "$2") " && return
        sleep 0.1
    done
    cat "$work/$1"*.log >&2
    fail "$case: nothing listens on port $2 of $1"
}

# keep_log HOST FILE PATTERN: the lines of a server's own log that speak of the case.
keep_log() { grep -hE "$3" "$work/$1"*.log | grep -v "ready\.invalid" >"$into/$2"; }

# --- captures -------------------------------------------------------------------------------------------------------

# capture HOST FILE [tcpdump options and filter]: records `any` unless `-i` says otherwise.
capture() {
    local name=$1 file=$2 try interface=(-i any) log
    shift 2
    case " $* " in *' -i '*) interface=() ;; esac
    log=$work/capture-${file//\//-}.log
    timeout 600 ip netns exec "$lab_prefix-$name" \
        tcpdump "${interface[@]}" -n -s 0 -U -B 8192 -Z root -w "$into/$file" "$@" 2>"$log" &
    lab_captures+=("$! $file $log")
    for try in $(seq 100); do
        grep -q 'listening on' "$log" 2>/dev/null && return
        sleep 0.05
    done
    cat "$log" >&2
    fail "$case: tcpdump on $name did not start"
}

# dump HOST FILE dumpcap-options: records with dumpcap, which can write several interfaces to one pcapng file.
dump() {
    local name=$1 file=$2 try log
    shift 2
    log=$work/capture-${file//\//-}.log
    timeout 600 ip netns exec "$lab_prefix-$name" dumpcap -q "$@" -w "$into/$file" 2>"$log" &
    lab_captures+=("$! $file $log")
    for try in $(seq 100); do
        grep -q '^File: ' "$log" 2>/dev/null && return
        sleep 0.05
    done
    cat "$log" >&2
    fail "$case: dumpcap on $name did not start"
}

# kernel_counts LOG: what tcpdump or dumpcap said at its end: captured, received by the filter, dropped.
kernel_counts() {
    awk '
        / packets? captured/ { captured = $1 } / received by filter/ { received = $1 } / dropped by kernel/ { dropped = $1 }
        /Packets captured: / { captured = $NF }
        /Packets received\/dropped on interface/ {
            match($0, /: [0-9]+\/[0-9]+ \(pcap/)
            split(substr($0, RSTART + 2, RLENGTH - 7), part, "/"); received += part[1]; dropped += part[2]
        }
        END { print captured "\t" received "\t" dropped + 0 }' "$1"
}

# Ends all captures and notes what the kernel says it gave and dropped. A recording with drops is useless as a
# witness, so it fails.
stop_captures() {
    local line pid file log counts
    sleep 1.3 # tcpdump reads what the kernel holds at least once a second
    for line in "${lab_captures[@]}"; do
        read -r pid file log <<<"$line"
        # `timeout` hands the signal on to tcpdump.
        kill -INT "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
        counts=$(kernel_counts "$log")
        printf '%s\t%s\n' "$file" "$counts" >>"$work/kernel"
        # Nothing was dropped. What came in the last moment may be left unread (neighbour discovery does that); a question
        # among it would not escape the other witnesses.
        awk '{ exit !($1 > 0 && $3 == "0") }' <<<"$counts" || fail "$case: $file is not complete: $counts"
    done
    lab_captures=()
}

# Ends the recording: captures first, then the tables of the NAT boxes.
finish() {
    local line pid file log counts
    stop_captures
    for line in "${lab_lines[@]}"; do
        read -r pid file log <<<"$line"
        kill -INT "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
        conntrack_table "$log" >"$into/$file"
    done
    lab_lines=()
}

# translations HOST FILE: follows the connection tracking of a NAT host into a table: the box's own word for each mapping.
translations() {
    local log=$work/events-$2
    timeout 600 ip netns exec "$lab_prefix-$1" conntrack -E -e NEW -o timestamp >"$log" 2>/dev/null &
    lab_lines+=("$! $2 $log")
    sleep 0.3
}

# conntrack_table EVENTS: one row per tracked flow. The reply's destination is the address the server was shown.
conntrack_table() {
    printf 'time\ttransport\tinside\tinside_port\tserver\tserver_port\toutside\toutside_port\n'
    awk '$2 == "[NEW]" && ($3 == "udp" || $3 == "tcp") {
        delete value; delete times
        for (i = 4; i <= NF; i++)
            if (split($i, pair, "=") == 2) value[pair[1], ++times[pair[1]]] = pair[2]
        print substr($1, 2, length($1) - 2) "\t" $3 "\t" value["src", 1] "\t" value["sport", 1] "\t" \
            value["dst", 1] "\t" value["dport", 1] "\t" value["dst", 2] "\t" value["dport", 2]
    }' "$1"
}

# --- questions ------------------------------------------------------------------------------------------------------

# asking FILE: the table that the following `ask` calls write to, beginning with its heading.
asking() {
    asked=$into/$1
    printf 'client\tport\tserver\ttransport\topcode\tid\tname\ttype\tstatus\tanswers\tseen_in\n' >"$asked"
}

# ask HOST CLIENT SERVER TRANSPORT NAME TYPE [dig options]: one question with dig, and what dig printed, as one row.
# The port and the id are chosen here (or given as PORT= and ID=), so that a row is known even when nothing came back. SEEN=
# names the captures that hold it when the others of the case do not; WAIT= is how long to wait, in seconds.
ask() {
    local name=$1 client=$2 server=$3 transport=$4 qname=$5 qtype=$6 answer status
    local port=${PORT:-$((32768 + SRANDOM % 28232))} id=${ID:-$((SRANDOM % 65536))}
    shift 6
    [ "$transport" = tcp ] && set -- +tcp "$@"
    answer=$(on "$name" dig -r "@$server" -b "$client#$port" "$qname" "$qtype" +qid="$id" \
        +tries=1 +timeout="${WAIT:-2}" +nosearch +noidnin "$@" 2>&1)
    awk -v row="$client	$port	$server	$transport" -v id="$id" -v name="$qname" -v type="$qtype" -v opcode="${OPCODE:-QUERY}" -v seen="${SEEN:-}" '
        /->>HEADER<<-/ && status == "" {
            match($0, /status: [A-Z0-9]+/); status = substr($0, RSTART + 8, RLENGTH - 8)
            if (match($0, /opcode: [A-Z0-9]+/)) opcode = substr($0, RSTART + 8, RLENGTH - 8)
            if (match($0, /id: [0-9]+/)) id = substr($0, RSTART + 4, RLENGTH - 4)
        }
        /ANSWER: / && answers == "" { match($0, /ANSWER: [0-9]+/); answers = substr($0, RSTART + 8, RLENGTH - 8) }
        /Transfer failed/ && status == "" { status = "failed" }
        /XFR size: / && status == "" { status = "NOERROR"; answers = $4 }
        /MSG SIZE  rcvd/ && status == "" { status = "response" } # an IXFR over UDP: dig prints no header
        /timed out|no servers could be reached/ && silent == "" { silent = "timeout" }
        /connection reset|connection refused|end of file/ { silent = "closed" }
        END {
            if (status == "") status = silent == "" ? "error" : silent
            sub(/=.*/, "", type); sub(/\.$/, "", name); if (name == "") name = "."
            print row "\t" opcode "\t" id "\t" name "\t" type "\t" status "\t" answers "\t" seen
        }' <<<"$answer" >>"$asked"
    [ -z "${LAB_VERBOSE:-}" ] || printf '%s\n' "$answer" >&2
}

# update HOST CLIENT SERVER TRANSPORT ZONE RECORD [nsupdate options]: one dynamic update, as one more row of the `asking` table.
update() {
    local name=$1 client=$2 server=$3 transport=$4 zone=$5 record=$6 answer
    local port=${PORT:-$((32768 + SRANDOM % 28232))}
    shift 6
    [ "$transport" = tcp ] && set -- -v "$@"
    answer=$(printf 'local %s %s\nserver %s\nzone %s\nupdate add %s\nsend\n' "$client" "$port" "$server" "$zone" "$record" |
        on "$name" timeout 20 nsupdate -d -r 0 -u "${WAIT:-2}" "$@" 2>&1)
    awk -v row="$client	$port	$server	$transport" -v zone="$zone" -v seen="${SEEN:-}" '
        /^Reply from update query/ { reply = 1 }
        /->>HEADER<<-/ {
            match($0, /id: +[0-9]+/); id = substr($0, RSTART + 3, RLENGTH - 3); gsub(/ /, "", id)
            if (reply) { match($0, /status: [A-Z0-9]+/); status = substr($0, RSTART + 8, RLENGTH - 8) }
        }
        /timed out/ { if (status == "") status = "timeout" }
        /Communication .* failed: unexpected/ { status = "failed" } # nsupdate 9.18 over TCP from a chosen address: it reads no reply
        END {
            sub(/\.$/, "", zone)
            print row "\tUPDATE\t" id "\t" zone "\tSOA\t" (status == "" ? "error" : status) "\t\t" seen
        }' <<<"$answer" >>"$asked"
    [ -z "${LAB_VERBOSE:-}" ] || printf '%s\n' "$answer" >&2
}

# together ARGUMENTS OF ASK: asks in the background; `all_asked` waits for those.
together() {
    ask "$@" &
    lab_asking+=($!)
}
all_asked() {
    [ ${#lab_asking[@]} -eq 0 ] || wait "${lab_asking[@]}"
    lab_asking=()
}

# counted CLIENT SERVER TRANSPORT TRANSACTIONS REFUSED UNANSWERED WITNESS CAPTURE...: what somebody else than dig counted.
counted() {
    local capture row
    row=$(printf '%s\t' "${@:1:6}")$7
    shift 7
    [ -e "$into/counts.tsv" ] ||
        printf 'capture\tclient\tserver\ttransport\ttransactions\trefused\tunanswered\twitness\n' >"$into/counts.tsv"
    for capture in "$@"; do printf '%s\t%s\n' "$capture" "$row" >>"$into/counts.tsv"; done
}

# counted_log LOG PATTERN WITNESS CAPTURE: each line of a server's log that matches is a refusal of a question dig asked but printed
# no code for; the line names it as ADDRESS#PORT, ADDRESS@PORT or "ADDRESS port PORT", and dig.tsv knows the transport and server.
counted_log() {
    grep -E "$2" "$into/$1" | awk -F '\t' -v table="$into/dig.tsv" '
        BEGIN { while ((getline row < table) > 0) { split(row, cell, "\t"); if (cell[9] == "failed" || cell[9] == "response") flow[cell[1] " " cell[2]] = cell[1] "\t" cell[3] "\t" cell[4] } }
        match($0, /[0-9a-f:.]+(#| port |@)[0-9]+/) {
            where = substr($0, RSTART, RLENGTH)
            sub(/#| port |@/, " ", where)
            if (where in flow) number[flow[where]]++
        }
        END { for (one in number) print one "\t" number[one] }' |
        while read -r client server transport number; do
            counted "$client" "$server" "$transport" 0 "$number" 0 "$3" "$4"
        done
}

# nsd_counters HOST: NSD's counters since they were last asked, one `name=value` on a line.
nsd_counters() { (cd "$work/run-$1" && on "$1" nsd-control -c nsd.conf stats); }

# --- the end --------------------------------------------------------------------------------------------------------

# Ends every process this case started and removes its namespaces. Safe to call twice.
clean_up() {
    local line pid name
    for line in "${lab_captures[@]}" "${lab_lines[@]}"; do
        read -r pid _ <<<"$line"
        kill -INT "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    for pid in "${lab_servers[@]}"; do
        kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    for name in "${lab_hosts[@]}"; do ip netns del "$lab_prefix-$name" 2>/dev/null; done
    lab_captures=() lab_lines=() lab_servers=() lab_hosts=()
}
