//! The cost of evaluating a server's configuration: reading a large named.conf, compared with `named-checkconf`, and
//! deciding among fifty thousand prefixes.

use dnsrefused::expect::acl::compare::Question;
use dnsrefused::expect::acl::{Acl, AclArgument};
use dnsrefused::expect::ranges::Ranges;
use ipnet::IpNet;
use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Instant;

/// A small generator of random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn octet(&mut self) -> u64 {
        self.next() >> 20 & 0xff
    }
}

/// 200 zones with lists of their own, 200 nested acls, about 5,000 lines.
fn large(random: &mut Random) -> String {
    let mut text = String::new();
    for number in 0..200 {
        let _ = writeln!(text, "acl \"net{number}\" {{");
        for _ in 0..12 {
            let _ = writeln!(text, "    10.{}.{}.0/24;", random.octet(), random.octet());
        }
        if number > 3 {
            let _ = writeln!(text, "    net{};", number - 1 - random.next() as usize % 3);
        }
        let _ = writeln!(text, "    !{{ 10.{}.0.0/16; 192.0.2.0/24; }};\n}};", random.octet());
    }
    text += "options {\n    directory \"/tmp\";\n    allow-query { net10; net20; localhost; };\n};\n";
    for number in 0..200 {
        let _ = writeln!(
            text,
            "zone \"z{number}.example.com\" {{\n    type primary;\n    file \"z{number}.db\";\n    allow-query {{ net{number}; \
             !net{}; 10.0.0.0/8; }};\n    allow-transfer {{ net{}; }};\n    allow-update {{ none; }};\n    notify no;\n    \
             max-journal-size 1m;\n}};",
            number * 7 % 200,
            number * 3 % 200
        );
    }
    while text.lines().count() < 5000 {
        text += "// a comment\n";
    }
    text
}

fn main() {
    let mut random = Random(20_251_231);
    let folder = std::env::temp_dir().join(format!("dnsrefused-acl-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("named.conf");
    std::fs::write(&path, large(&mut random)).expect("a file");
    let argument = AclArgument::parse(&format!("bind-9.18:{}", path.display())).expect("an argument");
    let best = |mut run: Box<dyn FnMut() + '_>| {
        (0..7)
            .map(|_| {
                let start = Instant::now();
                run();
                start.elapsed().as_secs_f64() * 1e3
            })
            .fold(f64::MAX, f64::min)
    };
    let ours = best(Box::new(|| drop(black_box(Acl::load(&argument, None, &[])))));
    println!("named.conf, 5,000 lines, 200 zones, 200 nested acls: read in {ours:.1} ms");
    if Command::new("named-checkconf").arg("-v").output().is_ok() {
        let theirs = best(Box::new(|| drop(Command::new("named-checkconf").arg(&path).output())));
        println!("named-checkconf, the same file: {theirs:.1} ms");
    }
    for dialect in ["unbound", "bind"] {
        let mut text = if dialect == "bind" { "acl big {\n".to_owned() } else { "server:\n".to_owned() };
        for _ in 0..50_000 {
            let prefix = format!("{}.{}.{}.0/24", random.octet() % 223 + 1, random.octet(), random.octet());
            let _ = if dialect == "bind" {
                writeln!(text, "    {}{prefix};", if random.octet().is_multiple_of(3) { "!" } else { "" })
            } else {
                writeln!(
                    text,
                    "    access-control: {prefix} {}",
                    if random.octet().is_multiple_of(3) { "refuse" } else { "allow" }
                )
            };
        }
        if dialect == "bind" {
            text += "};\noptions { allow-query-cache { big; }; allow-recursion { big; }; };\n";
        }
        let start = Instant::now();
        let acl = Acl::from_text(&format!("{dialect}:x.conf"), &text, &[]).expect("it loads");
        let read = start.elapsed().as_secs_f64() * 1e3;
        let question = Question::default();
        let server = IpAddr::V4(Ipv4Addr::new(10, 53, 0, 1));
        let sources: Vec<IpAddr> =
            (0..1_000_000).map(|_| IpAddr::V4(Ipv4Addr::from((random.next() >> 16) as u32))).collect();
        let start = Instant::now();
        let allowed =
            sources.iter().filter(|source| acl.decide(&question.ask(**source, server)).word.name() == "allow").count();
        let each = start.elapsed().as_secs_f64() * 1e9 / sources.len() as f64;
        let prefixes: Vec<(IpNet, u32)> = acl.policy().prefixes().into_iter().zip(0..).collect();
        let ranges = Ranges::new(&prefixes);
        let start = Instant::now();
        let inside = sources.iter().filter(|source| ranges.find(**source).is_some()).count();
        let bare = start.elapsed().as_secs_f64() * 1e9 / sources.len() as f64;
        println!("{dialect}, 50,000 prefixes: {bare:.0} ns for the bare lookup ({inside} inside)");
        println!(
            "{dialect}, 50,000 prefixes: read in {read:.0} ms, {each:.0} ns for a whole decision ({allowed} allowed)"
        );
    }
    let _ = std::fs::remove_dir_all(&folder);
}
