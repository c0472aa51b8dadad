//! Writes a snapshot as `OpenMetrics` text ([`exposition`]), the format of Prometheus and its kin; [`http`] serves it.
//!
//! Labels are outcomes, verdicts and severities from our own lists, addresses of our own servers, and names from the
//! operator's inventory: nothing that a client can choose. What is unknown has no sample, never a zero.

pub mod http;

use super::snapshot::{RoundTrips, Snapshot};
use crate::config::{Outcome, OutcomeCounts, Severity};
use crate::error::escape_text;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType::{self, Counter, Gauge, Histogram};
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;

/// Content type of the text, for HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Outcomes of transactions; responses without a query are counted apart.
const OUTCOMES: [Outcome; 6] =
    [Outcome::Answered, Outcome::Refused, Outcome::Denied, Outcome::Silent, Outcome::TcpRejected, Outcome::Unanswered];

/// The outcomes of which anything is known.
fn outcomes(snapshot: &Snapshot) -> &'static [Outcome] {
    if snapshot.without_queries { &[Outcome::Refused] } else { &OUTCOMES }
}

/// The text of a snapshot.
pub fn exposition(snapshot: &Arc<Snapshot>) -> String {
    let mut registry = Registry::with_prefix("dnsrefused");
    registry.register_collector(Box::new(Watched(Arc::clone(snapshot))));
    let mut out = String::new();
    // Writing to memory cannot fail.
    let _ = text::encode(&mut out, &registry);
    out
}

#[derive(Debug)]
struct Watched(Arc<Snapshot>);

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = &*self.0;
        let out = &mut encoder;
        capture(snapshot, out)?;
        loss(snapshot, out)?;
        transactions(snapshot, out)?;
        servers(snapshot, out)?;
        inventory(snapshot, out)?;
        findings(snapshot, out)
    }
}

/// Writes the description of a metric family, then its samples.
fn family(
    out: &mut DescriptorEncoder<'_>,
    kind: MetricType,
    (name, unit): (&str, Option<Unit>),
    help: &str,
    samples: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    samples(&mut out.encode_descriptor(name, help, unit.as_ref(), kind)?)
}

/// Writes a sample of a counter with labels.
fn count<const N: usize>(to: &mut MetricEncoder<'_>, labels: [(&str, &str); N], value: u64) -> fmt::Result {
    to.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&value, None)
}

fn seconds(time: crate::capture::Timestamp) -> f64 {
    time.0 as f64 / 1e9
}

/// Writes what is captured, where and since when.
fn capture(snapshot: &Snapshot, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let node = escape_text(&snapshot.node);
    family(out, MetricType::Info, ("capture", None), "The running capture", |to| {
        to.encode_info(&[("node", node.as_str()), ("version", env!("CARGO_PKG_VERSION"))])
    })?;
    if snapshot.is_blank() {
        return Ok(());
    }
    family(out, Gauge, ("start_time", Some(Unit::Seconds)), "When the capture began", |to| {
        to.encode_gauge(&seconds(snapshot.started))
    })?;
    family(out, Gauge, ("snapshot_time", Some(Unit::Seconds)), "When these numbers were true", |to| {
        to.encode_gauge(&seconds(snapshot.now))
    })
}

/// Writes packets seen and lost; what nobody knows has no sample.
fn loss(snapshot: &Snapshot, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let loss = &snapshot.loss;
    if let Some(seen) = loss.kernel_seen {
        family(out, Counter, ("packets_seen", None), "Packets that passed the kernel's filter", |to| {
            to.encode_counter::<NoLabelSet, u64, u64>(&seen, None)
        })?;
    }
    let help = "Packets not looked at: dropped by the kernel (ring full), by interfaces that say so (any traffic) or this program";
    family(out, Counter, ("packets_lost", None), help, |to| {
        let lost =
            [("kernel", loss.kernel_dropped), ("interface", loss.interface_dropped.known()), ("own", loss.own_dropped)];
        lost.iter().try_for_each(|(place, lost)| lost.map_or(Ok(()), |lost| count(to, [("place", place)], lost)))
    })?;
    if snapshot.is_blank() {
        return Ok(());
    }
    family(out, Gauge, ("ring", Some(Unit::Bytes)), "Room of all rings that packets wait in", |to| {
        to.encode_gauge(&snapshot.ring_bytes)
    })
}

/// Writes everything asked of our servers, and by them.
fn transactions(snapshot: &Snapshot, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let by_outcome = |to: &mut MetricEncoder<'_>, counts: &OutcomeCounts| {
        outcomes(snapshot)
            .iter()
            .try_for_each(|outcome| count(to, [("outcome", outcome.name())], counts[*outcome as usize]))
    };
    let help = "Transactions of clients with our servers";
    family(out, Counter, ("transactions", None), help, |to| by_outcome(to, &snapshot.outcomes))?;
    let help = "Transactions of our servers with others";
    family(out, Counter, ("upstream_transactions", None), help, |to| by_outcome(to, &snapshot.upstream))?;
    // Where no query is captured, an unsolicited response cannot be told from any other.
    if !snapshot.without_queries {
        family(out, Counter, ("unsolicited_responses", None), "Responses to clients without a query", |to| {
            to.encode_counter::<NoLabelSet, u64, u64>(&snapshot.outcomes[Outcome::Unsolicited as usize], None)
        })?;
    }
    if snapshot.transactions() > 0 && !snapshot.without_queries {
        let refused = snapshot.outcomes[Outcome::Refused as usize] as f64 / snapshot.transactions() as f64;
        let help = "Share of the transactions since the start that was refused";
        family(out, Gauge, ("refused_ratio", None), help, |to| to.encode_gauge(&refused))?;
    }
    if !snapshot.without_queries {
        round_trips(&snapshot.round_trips, out)?;
    }
    family(out, Gauge, ("sources", None), "Sources, each at each server it asked", |to| {
        to.encode_gauge(&snapshot.sources)
    })?;
    let turned_away = snapshot.rows.len() as u64 + snapshot.rows_not_shown;
    family(
        out,
        Gauge,
        ("sources_turned_away", None),
        "Sources refused, denied, rejected or met by silence, each at each server that did it",
        |to| to.encode_gauge(&turned_away),
    )?;
    family(out, Gauge, ("sources_joined", None), "Sources that stand for prefixes, for want of room", |to| {
        to.encode_gauge(&snapshot.joined)
    })
}

fn round_trips(trips: &RoundTrips, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let bounds = RoundTrips::BOUNDS.iter().map(|bound| *bound as f64 / 1e6).chain(std::iter::once(f64::INFINITY));
    let buckets: Vec<(f64, u64)> = bounds.zip(trips.counts).collect();
    family(out, Histogram, ("round_trip", Some(Unit::Seconds)), "Time from query to response", |to| {
        to.encode_histogram::<NoLabelSet>(trips.sum as f64 / 1e9, trips.total(), &buckets, None)
    })
}

/// Writes the counts of each of our servers, up to a bound.
fn servers(snapshot: &Snapshot, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    family(out, Counter, ("server_transactions", None), "Transactions of clients by our server", |to| {
        for counts in &snapshot.servers {
            let server = counts.server.to_string();
            for outcome in outcomes(snapshot) {
                let labels = [("server", server.as_str()), ("outcome", outcome.name())];
                count(to, labels, counts.outcomes[*outcome as usize])?;
            }
        }
        Ok(())
    })?;
    if snapshot.judged {
        let help = "The same by what the server's own configuration says";
        family(out, Counter, ("server_verdict_transactions", None), help, |to| {
            for counts in &snapshot.servers {
                let server = counts.server.to_string();
                for (verdict, decided) in &counts.verdicts {
                    for outcome in outcomes(snapshot) {
                        let labels = [("server", server.as_str()), ("verdict", verdict), ("outcome", outcome.name())];
                        count(to, labels, decided[*outcome as usize])?;
                    }
                }
            }
            Ok(())
        })?;
    }
    family(out, Gauge, ("servers_not_shown", None), "Our servers beyond the bound on series", |to| {
        to.encode_gauge(&snapshot.servers_not_shown)
    })
}

/// Writes the counts of each inventory name, up to a bound; a name never seen has counts of zero and no time.
fn inventory(snapshot: &Snapshot, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    if !snapshot.listed {
        return Ok(());
    }
    let names: Vec<String> = snapshot.names.iter().map(|named| escape_text(&named.name)).collect();
    family(out, Counter, ("inventory_transactions", None), "Transactions by name in the inventory", |to| {
        for (name, named) in names.iter().zip(&snapshot.names) {
            for outcome in outcomes(snapshot) {
                let labels = [("name", name.as_str()), ("expect", named.expect), ("outcome", outcome.name())];
                count(to, labels, named.outcomes[*outcome as usize])?;
            }
        }
        Ok(())
    })?;
    let last_seen = ("inventory_last_seen_timestamp", Some(Unit::Seconds));
    family(out, Gauge, last_seen, "When one of the name's sources was last seen", |to| {
        for (name, named) in names.iter().zip(&snapshot.names) {
            if let Some(last) = named.last {
                let labels = [("name", name.as_str()), ("expect", named.expect)];
                to.encode_family(&labels)?.encode_gauge(&seconds(last))?;
            }
        }
        Ok(())
    })?;
    family(out, Gauge, ("inventory_not_shown", None), "Names of the inventory beyond the bound on series", |to| {
        to.encode_gauge(&snapshot.names_not_shown)
    })
}

/// Writes the number of present findings by severity.
fn findings(snapshot: &Snapshot, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
    family(out, Gauge, ("findings", None), "Findings that stand, by severity", |to| {
        for (name, severity) in Severity::ALL {
            to.encode_family(&[("severity", name)])?.encode_gauge(&snapshot.stand(severity))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::snapshot::samples;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Says on one line each sample a collector understands: name, labels in order, value.
    const COLLECTOR: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(family.type, sample.name, sorted(sample.labels.items()), repr(float(sample.value)))
";

    /// What the Python client's parser makes of a text; nothing when it is not installed.
    fn collected(text: &str) -> Option<Vec<String>> {
        let python = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
            let probe = Command::new(python).args(["-c", "import prometheus_client"]).stderr(Stdio::null()).status();
            probe.is_ok_and(|status| status.success())
        })?;
        let mut child =
            Command::new(python).args(["-c", COLLECTOR]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "not OpenMetrics:\n{text}");
        Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
    }

    #[test]
    fn a_collector_reads_what_the_snapshot_says() {
        let Some(lines) = collected(&exposition(&Arc::new(samples::snapshot()))) else {
            return println!("skipped: python3 has no prometheus_client");
        };
        for wanted in [
            "info dnsrefused_capture_info [('node', 'ns1'), ('version', '0.1.0')] 1.0",
            "gauge dnsrefused_start_time_seconds [] 1767171600.0",
            "gauge dnsrefused_snapshot_time_seconds [] 1767171640.0",
            "counter dnsrefused_packets_seen_total [] 83412.0",
            "counter dnsrefused_packets_lost_total [('place', 'kernel')] 7.0",
            "counter dnsrefused_packets_lost_total [('place', 'own')] 0.0",
            "gauge dnsrefused_ring_bytes [] 67108864.0",
            "counter dnsrefused_transactions_total [('outcome', 'refused')] 1312.0",
            "counter dnsrefused_transactions_total [('outcome', 'tcp-rejected')] 2.0",
            "counter dnsrefused_upstream_transactions_total [('outcome', 'refused')] 41.0",
            "counter dnsrefused_unsolicited_responses_total [] 9.0",
            "gauge dnsrefused_refused_ratio [] 0.061057",
            "histogram dnsrefused_round_trip_seconds_bucket [('le', '0.0001')] 1.0",
            "histogram dnsrefused_round_trip_seconds_bucket [('le', '0.0005')] 3.0",
            "histogram dnsrefused_round_trip_seconds_bucket [('le', '5.0')] 4.0",
            "histogram dnsrefused_round_trip_seconds_bucket [('le', '+Inf')] 5.0",
            "histogram dnsrefused_round_trip_seconds_sum [] 6.07065",
            "histogram dnsrefused_round_trip_seconds_count [] 5.0",
            "gauge dnsrefused_sources [] 71.0",
            "gauge dnsrefused_sources_turned_away [] 3.0",
            "counter dnsrefused_server_transactions_total [('outcome', 'answered'), ('server', '10.20.30.40')] 20166.0",
            "counter dnsrefused_server_verdict_transactions_total \
             [('outcome', 'refused'), ('server', '10.20.30.40'), ('verdict', 'allow')] 2.0",
            "counter dnsrefused_inventory_transactions_total [('expect', 'allow'), ('name', 'office'), ('outcome', 'refused')] 2.0",
            "counter dnsrefused_inventory_transactions_total \
             [('expect', 'allow'), ('name', 'vpn \"north\"\\\\u{a}'), ('outcome', 'answered')] 0.0",
            "gauge dnsrefused_inventory_last_seen_timestamp_seconds [('expect', 'allow'), ('name', 'office')] 1767171638.0",
            "gauge dnsrefused_findings [('severity', 'critical')] 1.0",
            "gauge dnsrefused_findings [('severity', 'warning')] 0.0",
        ] {
            assert!(lines.iter().any(|line| line.starts_with(wanted)), "{wanted}\n{}", lines.join("\n"));
        }
        let unknown = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
        assert_eq!((unknown("'interface'"), unknown("last_seen_timestamp_seconds")), (0, 1));
    }

    #[test]
    fn nothing_from_the_wire_is_a_label_and_nothing_unknown_is_zero() {
        let text = exposition(&Arc::new(samples::snapshot()));
        for wire in ["192.0.2.4", "corp.example", "intranet"] {
            assert!(!text.contains(wire), "{wire}");
        }
        let refused_only = exposition(&Arc::new(Snapshot { without_queries: true, ..samples::snapshot() }));
        for absent in ["unsolicited", "answered", "_ratio", "round_trip"] {
            assert!(!refused_only.contains(absent), "{absent}\n{refused_only}");
        }
        let nothing = exposition(&Arc::new(Snapshot::default()));
        assert!(nothing.ends_with("# EOF\n"));
        for absent in ["packets_lost_total", "packets_seen", "_ratio", "inventory"] {
            assert!(!nothing.contains(absent), "{absent}\n{nothing}");
        }
        if let Some(lines) = collected(&nothing) {
            assert!(lines.contains(&"counter dnsrefused_transactions_total [('outcome', 'refused')] 0.0".to_owned()));
        }
    }
}
