//! Captures from interfaces: a [`Handle`] reads one through libpcap, fills [`Block`]s with records as in pcap files
//! with nanosecond times, and keeps an exact account of what the kernel saw, dropped and handed over.
//!
//! The account closes because nothing enters or leaves the ring uncounted. Filters are attached to the socket itself
//! (libpcap would discard what is in the ring). Packets that leave through loopback are kept out by the filter (libpcap
//! would drop them silently). Intake begins after the ring was emptied, and ends with a filter that lets nothing
//! through before the last packet is read. Reading the statistics of the socket clears them, so they are added up here.

use super::host::{has_no_carrier, index_in_sys, interfaces, interfaces_in_sys, is_up, loopback_index, sys_is_ours};
use super::kernel_filter::{self, EVERYTHING, LINUX_SLL2};
use super::losses::{InterfaceDrops, InterfaceLoss};
use super::packet_socket::{self, Instruction};
use super::{Block, Context, Format, Interface, Reader, time::Resolution};
use crate::config::Limits;
use crate::error::{Error, ErrorKind};
use pcap::{Active, Capture, Linktype, Precision};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::netdevice::index_to_name;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After this long (milliseconds) the kernel hands over a block of the ring that is not full yet. The timer restarts
/// with each block, so a packet waits for at most about twice this.
const RETIRE: i32 = 100;
/// A ring counts as empty when nothing came for this long under a filter that lets nothing through.
const SETTLED: Duration = Duration::from_millis(3 * RETIRE as u64);
/// When packets come to a ring that was empty, reading waits for this long for more: a batch is read and followed at
/// less cost (13 % less at 0.3 M packets/s), since the memory it needs stays in the processor's cache.
const GATHER: Duration = Duration::from_millis(20);
/// Bytes of a ring that has room for such a wait: it would have to fill at 1.6 GB/s, faster than packets come through a
/// socket.
const GATHER_RING: u64 = 32 << 20;
/// Consecutive errors of libpcap before they end a capture whose interface is up.
const ERRORS: usize = 50;
/// Packets taken from libpcap in one call, which bounds how far a block may grow past its limit.
const AT_ONCE: usize = 128;
/// The name that stands for all interfaces.
pub const ANY: &str = "any";

/// How a handle is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Size of the ring in bytes.
    pub ring: usize,
    /// Put the interface into promiscuous mode.
    pub promiscuous: bool,
    /// Ports that carry DNS.
    pub ports: Vec<u16>,
    /// An expression to use instead of the generated one.
    pub filter: Option<String>,
    /// Let only REFUSED responses through.
    pub refused_only: bool,
}

/// What the kernel counted for a handle: `seen = dropped + read + waiting`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// Packets that passed the filter.
    pub seen: u64,
    /// Of these, dropped because the ring was full.
    pub dropped: u64,
    /// Times the ring became full.
    pub bursts: u64,
    /// Packets read from the ring.
    pub read: u64,
    /// Packets that the interface itself reports as lost since the start.
    pub interface_dropped: InterfaceLoss,
}

impl KernelCounts {
    /// Packets that passed the filter, were not dropped and have not been read yet.
    pub fn waiting(&self) -> i64 {
        self.seen as i64 - self.dropped as i64 - self.read as i64
    }
}

/// Whether packets can come from an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Packets may come.
    Up,
    /// The interface is down; it may come back.
    Down,
    /// The interface is gone.
    Gone,
}

/// An interface being captured, or all of them.
pub struct Handle {
    /// The interface's name, or `any`.
    pub name: String,
    /// LINKTYPE_ value of its packets.
    pub link_type: u16,
    /// The expression that chooses packets.
    pub expression: String,
    /// The kernel cannot run the expression for this kind of device, so every packet is read and filtered in this
    /// process.
    pub chosen_here: bool,
    /// What the kernel counted.
    pub counts: KernelCounts,
    /// Size of the ring in bytes, as the kernel allocated it.
    pub ring: u64,
    /// /sys describes the network namespace that is captured.
    pub sys_is_ours: bool,
    capture: Capture<Active>,
    program: Vec<Instruction>,
    drops: InterfaceDrops,
    /// File with the interface's flags; `None` for all interfaces, and where it cannot be read.
    flags: Option<File>,
    /// File that says whether it has a carrier; `None` likewise.
    carrier: Option<File>,
    /// The present name of the interface, where it was found to be renamed.
    renamed: Option<String>,
    state: State,
    /// The ring was empty when it was last read.
    emptied: bool,
    /// Consecutive errors of libpcap since it last gave a packet.
    errors: usize,
}

impl Handle {
    /// Opens an interface. No packet is taken in until [`Handle::start`].
    pub fn open(name: &str, options: &Options) -> Result<Self, Error> {
        let failed = |error: &pcap::Error| cannot_open(name, error);
        let ring = i32::try_from(options.ring).unwrap_or(i32::MAX);
        let inactive = Capture::from_device(name).map_err(|error| failed(&error))?;
        let mut capture = inactive
            .buffer_size(ring)
            .snaplen(Limits::default().packet_bytes as i32)
            .promisc(options.promiscuous)
            .precision(Precision::Nano)
            .timeout(RETIRE)
            .open()
            .map_err(|error| failed(&error))?;
        // An interface that was given by an alternative name goes by its own name from here on.
        let index = packet_socket::interface_index(capture.as_fd()).ok().and_then(|index| u32::try_from(index).ok());
        let own = index.filter(|index| *index > 0).and_then(|index| index_to_name(capture.as_fd(), index).ok());
        let name = own.as_deref().unwrap_or(name);
        let socket_failed = |what: &str, error: std::io::Error| {
            let detail = format!("{what}: {error}; nothing was captured");
            Error::new(ErrorKind::CouldNotRun, "E-LIVE-SOCKET", name, detail)
        };
        packet_socket::attach(capture.as_fd(), &kernel_filter::NOTHING)
            .map_err(|error| socket_failed("no filter can be attached", error))?;
        let cooked = capture.list_datalinks().is_ok_and(|types| types.contains(&Linktype(i32::from(LINUX_SLL2))));
        if name == ANY && cooked {
            capture.set_datalink(Linktype(i32::from(LINUX_SLL2))).map_err(|error| failed(&error))?;
        }
        // Values of DLT_ and LINKTYPE_ are equal, except for raw IP.
        let link_type = match capture.get_datalink().0 {
            12 | 14 => 101,
            number => u16::try_from(number).unwrap_or(u16::MAX),
        };
        let expression = match &options.filter {
            Some(expression) => expression.clone(),
            None if options.refused_only => kernel_filter::refused(&options.ports, link_type),
            None => kernel_filter::dns(&options.ports, link_type),
        };
        let program = match &options.filter {
            Some(_) => capture.compile(&expression, true).map(|program| kernel_filter::instructions(&program)),
            None => kernel_filter::compile(&expression, link_type),
        };
        let program = program.map_err(|error| {
            let link = crate::decode::link::name(link_type);
            Error::usage("--filter", format!("{error} (for {name}, link type {link}); nothing was captured"))
        })?;
        let loopback = matches!(name, ANY | "lo").then(loopback_index).flatten();
        let made = kernel_filter::for_socket(&program, link_type, loopback);
        let chosen_here = made.is_none();
        let sys_is_ours = sys_is_ours(capture.as_fd());
        let in_sys = |file: &str| File::open(format!("/sys/class/net/{name}/{file}")).ok().filter(|_| sys_is_ours);
        let program = made
            .or_else(|| kernel_filter::for_socket(&EVERYTHING, link_type, loopback))
            .unwrap_or_else(|| EVERYTHING.to_vec());
        Ok(Self {
            ring: ring_of(capture.as_fd()).unwrap_or(options.ring as u64),
            name: name.to_string(),
            link_type,
            expression,
            chosen_here,
            counts: KernelCounts::default(),
            capture: capture.setnonblock().map_err(|error| failed(&error))?,
            program,
            drops: if sys_is_ours { InterfaceDrops::open(name) } else { InterfaceDrops::default() },
            flags: in_sys("flags"),
            carrier: in_sys("carrier"),
            sys_is_ours,
            renamed: None,
            state: State::Up,
            emptied: true,
            errors: 0,
        })
    }

    /// The packet socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }

    /// Puts this handle into a fan-out group, a new one or `group`, and returns the number of the group. To be called
    /// before [`Handle::start`].
    pub fn fan_out(&mut self, group: Option<u16>) -> Result<u16, Error> {
        let joined = match group {
            None => packet_socket::begin_fanout(self.capture.as_fd(), &kernel_filter::by_addresses()),
            Some(group) => packet_socket::join_fanout(self.capture.as_fd(), group).map(|()| group),
        };
        joined.map_err(|error| {
            let detail = format!("--fanout is not possible: {error}; nothing was captured");
            Error::new(ErrorKind::CouldNotRun, "E-LIVE-FANOUT", &self.name, detail)
        })
    }

    /// Empties the ring of packets that came before the filter was attached. Afterwards it is empty and nothing enters.
    pub fn settle(&mut self) -> Result<(), Error> {
        // A packet that another processor is taking in reaches the ring a moment later.
        std::thread::sleep(Duration::from_millis(2));
        self.add_statistics()?;
        if self.counts.seen > 0 {
            let mut quiet_since = Instant::now();
            while quiet_since.elapsed() < SETTLED {
                let taken = self.capture.dispatch(Some(AT_ONCE), |_| {}).unwrap_or(0);
                if taken > 0 {
                    quiet_since = Instant::now();
                } else {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
        self.add_statistics()?;
        self.counts = KernelCounts::default();
        Ok(())
    }

    /// Begins to take packets in, by attaching the filter.
    pub fn start(&mut self) -> Result<(), Error> {
        self.drops.begin();
        packet_socket::attach(self.capture.as_fd(), &self.program).map_err(|error| {
            let detail = format!("the filter cannot be attached: {error}; nothing was captured");
            Error::new(ErrorKind::CouldNotRun, "E-LIVE-FILTER", &self.name, detail)
        })
    }

    /// Lets nothing more into the ring; what is in it can still be read.
    pub fn stop(&mut self) -> Result<(), Error> {
        packet_socket::attach(self.capture.as_fd(), &kernel_filter::NOTHING).map_err(|error| self.lost_socket(&error))
    }

    /// Adds to [`Handle::counts`] what the kernel counted since the last call.
    pub fn add_statistics(&mut self) -> Result<(), Error> {
        let more = packet_socket::statistics(self.capture.as_fd()).map_err(|error| self.lost_socket(&error))?;
        self.counts.seen += u64::from(more.packets);
        self.counts.dropped += u64::from(more.drops);
        self.counts.bursts += u64::from(more.freezes);
        self.counts.interface_dropped = self.drops.since_begin();
        Ok(())
    }

    /// Waits at most `patience` for packets, lets more gather for a moment, and appends them to `block` as records of a
    /// pcap file, until the block has reached its limit or the ring is empty. Returns the number of packets.
    pub fn fill(&mut self, block: &mut Block, patience: Duration) -> Result<usize, Error> {
        if self.state == State::Gone {
            // What is in the ring can still be read.
            std::thread::sleep(Duration::from_millis(5));
        } else if !self.wait(patience)? {
            return Ok(0);
        } else if self.emptied && self.ring >= GATHER_RING && patience > GATHER {
            std::thread::sleep(GATHER);
        }
        let mut packets = 0;
        self.emptied = false;
        while block.data.len() < block.limit {
            let data = &mut block.data;
            let taken = self.capture.dispatch(Some(AT_ONCE), |packet| {
                let header = packet.header;
                let numbers = [header.ts.tv_sec as u32, header.ts.tv_usec as u32, packet.data.len() as u32, header.len];
                let mut record = [0; 16];
                record.chunks_exact_mut(4).zip(numbers).for_each(|(part, number)| {
                    part.copy_from_slice(&number.to_le_bytes());
                });
                data.reserve(record.len() + packet.data.len());
                data.extend_from_slice(&record);
                data.extend_from_slice(packet.data);
            });
            match taken {
                Ok(0) => {
                    self.emptied = true;
                    break;
                }
                Ok(taken) => {
                    self.errors = 0;
                    packets += taken;
                }
                Err(_) if self.state == State::Gone => break,
                // libpcap noticed that the interface is gone before this process did; or it took the interface for gone
                // when it went down and was renamed at once, in which case the read is repeated.
                Err(error) => {
                    self.look_after_error(patience)?;
                    self.errors += 1;
                    if self.state == State::Up && self.errors <= ERRORS {
                        std::thread::sleep(patience.min(Duration::from_millis(20)));
                    } else if self.state == State::Up {
                        self.counts.read += packets as u64;
                        let detail = format!("{error}; the report holds what was captured until then");
                        return Err(Error::new(ErrorKind::Input, "E-LIVE-READ", &self.name, detail));
                    }
                    break;
                }
            }
        }
        self.counts.read += packets as u64;
        if packets > 0 && self.state == State::Down && self.flags.is_none() {
            // Nothing else shows that the interface is up again.
            self.state = State::Up;
        }
        Ok(packets)
    }

    /// Waits at most `patience` for packets or an error; false when neither came.
    fn wait(&mut self, patience: Duration) -> Result<bool, Error> {
        let wait = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
        let mut waiting = [PollFd::new(&self.capture, PollFlags::IN)];
        match rustix::event::poll(&mut waiting, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(self.lost_socket(&error.into())),
        }
        if waiting[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            self.look_after_error(patience)?;
        }
        Ok(true)
    }

    /// Finds out why the socket has an error: whether the interface is down or gone.
    fn look_after_error(&mut self, patience: Duration) -> Result<(), Error> {
        let socket = self.capture.as_fd();
        let number = packet_socket::pending_error(socket).map_err(|error| self.lost_socket(&error))?;
        let index = packet_socket::interface_index(socket).map_err(|error| self.lost_socket(&error))?;
        if index < 0 {
            self.state = State::Gone;
        } else if matches!(number, libc::ENETDOWN | libc::ENODEV) {
            self.state = State::Down;
        }
        if self.state != State::Up {
            std::thread::sleep(patience.min(Duration::from_millis(20)));
        }
        Ok(())
    }

    /// Finds out whether packets can come. libpcap may have consumed the error of the socket, so the interface itself
    /// is examined.
    pub fn look_at_interface(&mut self) -> State {
        let index = packet_socket::interface_index(self.capture.as_fd()).unwrap_or(0);
        if index < 0 {
            self.state = State::Gone;
            return self.state;
        }
        let is_ours = |name: &str| index_in_sys(name).is_some_and(|known| i64::from(known) == i64::from(index));
        if index > 0 && self.sys_is_ours && !is_ours(self.renamed.as_ref().unwrap_or(&self.name)) {
            // No name is found where /sys may not be listed; then the known name stays.
            self.renamed = interfaces_in_sys().into_iter().find(|name| is_ours(name)).or(self.renamed.take());
        }
        if let Some(up) = self.flags.as_ref().and_then(is_up) {
            self.state = if up { State::Up } else { State::Down };
        }
        self.state
    }

    /// True when the interface is up but has no carrier.
    pub fn has_no_carrier(&self) -> bool {
        self.state == State::Up && self.carrier.as_ref().is_some_and(has_no_carrier)
    }

    /// The present name of the interface, when it was renamed.
    pub fn new_name(&self) -> Option<&str> {
        self.renamed.as_deref().filter(|name| *name != self.name)
    }

    /// The state of the interface when it was last examined.
    pub fn state(&self) -> State {
        self.state
    }

    /// The context for reading the records of this handle's blocks.
    pub fn context(&self) -> Arc<Context> {
        let interface = Interface {
            link_type: self.link_type,
            resolution: Resolution::Multiply(1),
            offset_seconds: 0,
            snap_len: 0,
            name: Some(Arc::from(self.name.as_str())),
        };
        Arc::new(Context { interfaces: vec![interface], record_header: 16, ..Context::default() })
    }

    fn lost_socket(&self, error: &std::io::Error) -> Error {
        let detail = format!("the packet socket failed: {error}; the report holds what was captured until then");
        Error::new(ErrorKind::CouldNotRun, "E-LIVE-SOCKET", &self.name, detail)
    }
}

/// How blocks of handles are read: like pcap files.
pub fn reader(limits: &Limits) -> Reader {
    Reader {
        format: Format::Pcap,
        packet_bytes: limits.packet_bytes,
        block_bytes: limits.pcapng_block_bytes,
        interfaces: limits.interfaces,
    }
}

/// The error for an interface that could not be opened, and what to do about it.
fn cannot_open(name: &str, error: &pcap::Error) -> Error {
    let text = error.to_string();
    let text = text.strip_prefix("libpcap error: ").unwrap_or(&text);
    let lower = text.to_ascii_lowercase();
    let detail = if lower.contains("permission") || lower.contains("not permitted") {
        format!(
            "{text}; capturing needs CAP_NET_RAW: run as root, or once: setcap cap_net_raw=ep on this program; nothing \
             was captured"
        )
    } else if lower.contains("no such device") || lower.contains("doesn't exist") {
        let known: Vec<String> = interfaces().into_iter().take(12).collect();
        format!("no such interface; there are: {}; nothing was captured", known.join(", "))
    } else {
        format!("{text}; nothing was captured")
    };
    Error::new(ErrorKind::CouldNotRun, "E-LIVE-OPEN", name, detail)
}

/// Size in bytes of the ring that a packet socket shares with this process. It is larger than requested when that was
/// less than a block, and smaller when the kernel could not allocate as much.
fn ring_of(socket: BorrowedFd<'_>) -> Option<u64> {
    let number = rustix::fs::fstat(socket).ok()?.st_ino;
    let (maps, name) = (std::fs::read_to_string("/proc/self/maps").ok()?, format!("socket:[{number}]"));
    let sizes = maps.lines().filter(|line| line.ends_with(&name)).filter_map(|line| {
        let (first, end) = line.split_once(' ')?.0.split_once('-')?;
        Some(u64::from_str_radix(end, 16).ok()?.saturating_sub(u64::from_str_radix(first, 16).ok()?))
    });
    Some(sizes.sum()).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_named_with_those_that_are() {
        let options = Options { ring: 1 << 20, promiscuous: false, ports: vec![53], filter: None, refused_only: false };
        let Err(error) = Handle::open("no-such-if0", &options) else { panic!("it opened") };
        assert_eq!(error.exit_code(), 1);
        // Without the privilege the kernel does not even look the interface up.
        assert!(error.detail.contains("no such interface") || error.detail.contains("CAP_NET_RAW"), "{error}");
    }
}
