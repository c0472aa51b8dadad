//! Names of the statements of named.conf, by where they may stand: what is in none of these lists is a mistake.
//!
//! Statements of releases from 9.9 to 9.20 are here; those this tool does not look at are read over.

/// Statements outside every block.
pub const TOP: &[&str] = &[
    "acl", "controls", "dlz", "dnssec-policy", "dyndb", "http", "include", "key", "key-store", "logging", "lwres",
    "managed-keys", "masters", "options", "parental-agents", "plugin", "primaries", "remote-servers", "server",
    "statistics-channels", "template", "tls", "trust-anchors", "trusted-keys", "view", "zone",
];

/// In `options`.
pub const OPTIONS: &[&str] = &[
    "acache-cleaning-interval", "acache-enable", "additional-from-auth", "additional-from-cache", "allow-new-zones",
    "allow-notify", "allow-proxy", "allow-proxy-on", "allow-query", "allow-query-cache", "allow-query-cache-on",
    "allow-query-on", "allow-recursion", "allow-recursion-on", "allow-transfer", "allow-update",
    "allow-update-forwarding", "allow-v6-synthesis", "also-notify", "alt-transfer-source", "alt-transfer-source-v6",
    "answer-cookie", "attach-cache", "auth-nxdomain", "auto-dnssec", "automatic-interface-scan", "avoid-v4-udp-ports",
    "avoid-v6-udp-ports", "bindkeys-file", "blackhole", "catalog-zones", "check-dup-records", "check-integrity",
    "check-mx", "check-mx-cname", "check-names", "check-sibling", "check-spf", "check-srv-cname", "check-svcb",
    "check-wildcard", "cleaning-interval", "clients-per-query", "cookie-algorithm", "cookie-secret", "coresize",
    "datasize", "deallocate-on-exit", "deny-answer-addresses", "deny-answer-aliases", "dialup", "directory",
    "disable-algorithms", "disable-ds-digests", "disable-empty-zone", "dns64", "dns64-contact", "dns64-server",
    "dnskey-sig-validity", "dnsrps-enable", "dnsrps-options", "dnssec-accept-expired", "dnssec-dnskey-kskonly",
    "dnssec-enable", "dnssec-loadkeys-interval", "dnssec-lookaside", "dnssec-must-be-secure", "dnssec-policy",
    "dnssec-secure-to-insecure", "dnssec-update-mode", "dnssec-validation", "dnstap", "dnstap-identity",
    "dnstap-output", "dnstap-version", "dscp", "dual-stack-servers", "dump-file", "edns-udp-size", "edns-version",
    "empty-contact", "empty-server", "empty-zones-enable", "fake-iquery", "fetch-quota-params", "fetches-per-server",
    "fetches-per-zone", "files", "filter-aaaa", "filter-aaaa-on-v4", "filter-aaaa-on-v6", "flush-zones-on-shutdown",
    "forward", "forwarders", "fstrm-set-buffer-hint", "fstrm-set-flush-timeout", "fstrm-set-input-queue-size",
    "fstrm-set-output-notify-threshold", "fstrm-set-output-queue-model", "fstrm-set-output-queue-size",
    "fstrm-set-reopen-interval", "geoip-directory", "glue-cache", "has-old-clients", "heartbeat-interval",
    "host-statistics", "host-statistics-max", "hostname", "http-listener-clients", "http-port",
    "http-streams-per-connection", "https-port", "interface-interval", "ipv4only-contact", "ipv4only-enable",
    "ipv4only-server", "ixfr-from-differences", "keep-response-order", "key-directory", "lame-ttl", "listen-on",
    "listen-on-v6", "lmdb-mapsize", "lock-file", "maintain-ixfr-base", "managed-keys-directory", "masterfile-format",
    "masterfile-style", "match-mapped-addresses", "max-acache-size", "max-cache-size", "max-cache-ttl",
    "max-clients-per-query", "max-delegation-servers", "max-ixfr-ratio", "max-journal-size", "max-ncache-ttl",
    "max-query-count", "max-query-restarts", "max-records", "max-records-per-type", "max-recursion-depth",
    "max-recursion-queries", "max-refresh-time", "max-retry-time", "max-rsa-exponent-size", "max-stale-ttl",
    "max-transfer-idle-in", "max-transfer-idle-out", "max-transfer-time-in", "max-transfer-time-out",
    "max-types-per-name", "max-udp-size", "max-validation-failures-per-fetch", "max-validations-per-fetch",
    "max-zone-ttl", "memstatistics", "memstatistics-file", "message-compression", "min-cache-ttl", "min-ncache-ttl",
    "min-refresh-time", "min-retry-time", "min-roots", "min-transfer-rate-in", "minimal-any", "minimal-responses",
    "multi-master", "multiple-cnames", "named-xfer", "new-zones-directory", "no-case-compress", "nocookie-udp-size",
    "notify", "notify-defer", "notify-delay", "notify-rate", "notify-source", "notify-source-v6", "notify-to-soa",
    "nsec3-test-zone", "nta-lifetime", "nta-recheck", "nxdomain-redirect", "parental-source", "parental-source-v6",
    "pid-file", "port", "preferred-glue", "prefetch", "provide-ixfr", "provide-zoneversion", "qname-minimization",
    "query-source", "query-source-v6", "querylog", "queryport-pool-ports", "queryport-pool-updateinterval",
    "random-device", "rate-limit", "recursing-file", "recursion", "recursive-clients", "request-expire",
    "request-ixfr", "request-nsid", "request-sit", "request-sslkey", "request-zoneversion", "require-server-cookie",
    "reserved-sockets", "resolver-nonbackoff-tries", "resolver-query-timeout", "resolver-retry-interval",
    "response-padding", "response-policy", "responselog", "reuseport", "rfc2308-type1", "root-delegation-only",
    "root-key-sentinel", "rrset-order", "secroots-file", "send-cookie", "send-report-channel", "serial-queries",
    "serial-query-rate", "serial-update-method", "server-id", "servfail-ttl", "session-keyalg", "session-keyfile",
    "session-keyname", "sig-signing-nodes", "sig-signing-signatures", "sig-signing-type", "sig-validity-interval",
    "sig0checks-quota", "sig0checks-quota-exempt", "sig0key-checks-limit", "sig0message-checks-limit", "sit-secret",
    "sortlist", "stacksize", "stale-answer-client-timeout", "stale-answer-enable", "stale-answer-ttl",
    "stale-cache-enable", "stale-refresh-time", "startup-notify-rate", "statistics-file", "statistics-interval",
    "suppress-initial-notify", "synth-from-dnssec", "tcp-advertised-timeout", "tcp-clients", "tcp-idle-timeout",
    "tcp-initial-timeout", "tcp-keepalive-timeout", "tcp-listen-queue", "tcp-primaries-timeout", "tcp-receive-buffer",
    "tcp-send-buffer", "tkey-dhkey", "tkey-domain", "tkey-gssapi-credential", "tkey-gssapi-keytab", "tls-port",
    "topology", "transfer-format", "transfer-message-size", "transfer-source", "transfer-source-v6", "transfers-in",
    "transfers-out", "transfers-per-ns", "treat-cr-as-space", "trust-anchor-telemetry", "try-tcp-refresh",
    "udp-receive-buffer", "udp-send-buffer", "update-check-ksk", "update-quota", "use-alt-transfer-source",
    "use-id-pool", "use-ixfr", "use-queryport-pool", "use-v4-udp-ports", "use-v6-udp-ports", "v6-bias",
    "validate-except", "version", "zero-no-soa-ttl", "zero-no-soa-ttl-cache", "zone-statistics",
];

/// In `view`.
pub const VIEW: &[&str] = &[
    "acache-cleaning-interval", "acache-enable", "additional-from-auth", "additional-from-cache", "allow-new-zones",
    "allow-notify", "allow-query", "allow-query-cache", "allow-query-cache-on", "allow-query-on", "allow-recursion",
    "allow-recursion-on", "allow-transfer", "allow-update", "allow-update-forwarding", "allow-v6-synthesis",
    "also-notify", "alt-transfer-source", "alt-transfer-source-v6", "attach-cache", "auth-nxdomain", "auto-dnssec",
    "catalog-zones", "check-dup-records", "check-integrity", "check-mx", "check-mx-cname", "check-names",
    "check-sibling", "check-spf", "check-srv-cname", "check-svcb", "check-wildcard", "cleaning-interval",
    "clients-per-query", "deny-answer-addresses", "deny-answer-aliases", "dialup", "disable-algorithms",
    "disable-ds-digests", "disable-empty-zone", "dlz", "dns64", "dns64-contact", "dns64-server",
    "dnskey-sig-validity", "dnsrps-enable", "dnsrps-options", "dnssec-accept-expired", "dnssec-dnskey-kskonly",
    "dnssec-enable", "dnssec-loadkeys-interval", "dnssec-lookaside", "dnssec-must-be-secure", "dnssec-policy",
    "dnssec-secure-to-insecure", "dnssec-update-mode", "dnssec-validation", "dnstap", "dual-stack-servers", "dyndb",
    "edns-udp-size", "empty-contact", "empty-server", "empty-zones-enable", "fetch-quota-params",
    "fetches-per-server", "fetches-per-zone", "filter-aaaa", "filter-aaaa-on-v4", "filter-aaaa-on-v6", "forward",
    "forwarders", "glue-cache", "include", "ipv4only-contact", "ipv4only-enable", "ipv4only-server",
    "ixfr-from-differences", "key", "key-directory", "lame-ttl", "lmdb-mapsize", "managed-keys", "masterfile-format",
    "masterfile-style", "match-clients", "match-destinations", "match-recursive-only", "max-acache-size",
    "max-cache-size", "max-cache-ttl", "max-clients-per-query", "max-delegation-servers", "max-ixfr-ratio",
    "max-journal-size", "max-ncache-ttl", "max-query-count", "max-query-restarts", "max-records",
    "max-records-per-type", "max-recursion-depth", "max-recursion-queries", "max-refresh-time", "max-retry-time",
    "max-stale-ttl", "max-transfer-idle-in", "max-transfer-idle-out", "max-transfer-time-in", "max-transfer-time-out",
    "max-types-per-name", "max-udp-size", "max-validation-failures-per-fetch", "max-validations-per-fetch",
    "max-zone-ttl", "message-compression", "min-cache-ttl", "min-ncache-ttl", "min-refresh-time", "min-retry-time",
    "min-transfer-rate-in", "minimal-any", "minimal-responses", "multi-master", "new-zones-directory",
    "no-case-compress", "nocookie-udp-size", "notify", "notify-defer", "notify-delay", "notify-source",
    "notify-source-v6", "notify-to-soa", "nsec3-test-zone", "nta-lifetime", "nta-recheck", "nxdomain-redirect",
    "parental-source", "parental-source-v6", "plugin", "preferred-glue", "prefetch", "provide-ixfr",
    "provide-zoneversion", "qname-minimization", "query-source", "query-source-v6", "queryport-pool-ports",
    "queryport-pool-updateinterval", "rate-limit", "recursion", "request-expire", "request-ixfr", "request-nsid",
    "request-sit", "request-zoneversion", "require-server-cookie", "resolver-nonbackoff-tries",
    "resolver-query-timeout", "resolver-retry-interval", "response-padding", "response-policy", "rfc2308-type1",
    "root-delegation-only", "root-key-sentinel", "rrset-order", "send-cookie", "send-report-channel",
    "serial-update-method", "server", "servfail-ttl", "sig-signing-nodes", "sig-signing-signatures",
    "sig-signing-type", "sig-validity-interval", "sig0key-checks-limit", "sig0message-checks-limit", "sortlist",
    "stale-answer-client-timeout", "stale-answer-enable", "stale-answer-ttl", "stale-cache-enable",
    "stale-refresh-time", "suppress-initial-notify", "synth-from-dnssec", "template", "topology", "transfer-format",
    "transfer-source", "transfer-source-v6", "trust-anchor-telemetry", "trust-anchors", "trusted-keys",
    "try-tcp-refresh", "update-check-ksk", "use-alt-transfer-source", "use-queryport-pool", "v6-bias",
    "validate-except", "zero-no-soa-ttl", "zero-no-soa-ttl-cache", "zone", "zone-statistics",
];

/// In `zone`.
pub const ZONE: &[&str] = &[
    "allow-notify", "allow-query", "allow-query-on", "allow-transfer", "allow-update", "allow-update-forwarding",
    "also-notify", "alt-transfer-source", "alt-transfer-source-v6", "auto-dnssec", "check-dup-records",
    "check-integrity", "check-mx", "check-mx-cname", "check-names", "check-sibling", "check-spf", "check-srv-cname",
    "check-svcb", "check-wildcard", "checkds", "database", "delegation-only", "dialup", "dlz", "dnskey-sig-validity",
    "dnssec-dnskey-kskonly", "dnssec-loadkeys-interval", "dnssec-policy", "dnssec-secure-to-insecure",
    "dnssec-update-mode", "file", "forward", "forwarders", "in-view", "initial-file", "inline-signing", "ixfr-base",
    "ixfr-from-differences", "ixfr-tmp-file", "journal", "key-directory", "log-report-channel", "maintain-ixfr-base",
    "masterfile-format", "masterfile-style", "masters", "max-ixfr-ratio", "max-journal-size", "max-records",
    "max-records-per-type", "max-refresh-time", "max-retry-time", "max-transfer-idle-in", "max-transfer-idle-out",
    "max-transfer-time-in", "max-transfer-time-out", "max-types-per-name", "max-zone-ttl", "min-refresh-time",
    "min-retry-time", "min-transfer-rate-in", "multi-master", "notify", "notify-defer", "notify-delay",
    "notify-source", "notify-source-v6", "notify-to-soa", "nsec3-test-zone", "parental-agents", "parental-source",
    "parental-source-v6", "primaries", "provide-zoneversion", "pubkey", "request-expire", "request-ixfr",
    "request-zoneversion", "send-report-channel", "serial-update-method", "server-addresses", "server-names",
    "sig-signing-nodes", "sig-signing-signatures", "sig-signing-type", "sig-validity-interval", "template",
    "transfer-source", "transfer-source-v6", "try-tcp-refresh", "type", "update-check-ksk", "update-policy",
    "use-alt-transfer-source", "zero-no-soa-ttl", "zone-statistics",
];

/// True when `name` is in a list, in any case.
pub fn knows(list: &[&str], name: &str) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The name of a list that is most like a misspelled one, when any is.
pub fn alike(list: &[&'static str], name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let closest = list.iter().map(|known| (distance(known.as_bytes(), name.as_bytes()), *known)).min()?;
    (closest.0 <= 2).then_some(closest.1)
}

/// Bytes to change, insert, leave out or swap with the next one to make one name of the other.
fn distance(one: &[u8], two: &[u8]) -> usize {
    if one.len().abs_diff(two.len()) > 2 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for at in 1..=one.len() {
        let mut next = vec![at];
        for to in 1..=two.len() {
            let same = usize::from(one[at - 1] != two[to - 1]);
            let mut least = (row[to] + 1).min(next[to - 1] + 1).min(row[to - 1] + same);
            if at > 1 && to > 1 && one[at - 1] == two[to - 2] && one[at - 2] == two[to - 1] {
                least = least.min(before[to - 2] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_names_have_a_neighbour() {
        assert!(knows(OPTIONS, "Allow-Query") && !knows(OPTIONS, "match-clients") && knows(VIEW, "match-clients"));
        assert_eq!(alike(OPTIONS, "alow-query"), Some("allow-query"));
        assert_eq!(alike(OPTIONS, "allow-qeury"), Some("allow-query"));
        assert_eq!(alike(OPTIONS, "something-else"), None);
    }
}
